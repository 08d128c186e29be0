/*
 * Faults below SQLite: its memory by SQLITE_CONFIG_MALLOC, its files by a VFS in front of the system's.
 */
#include "faults/shim.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

static sqlite3_mem_methods memory;

static void *memory_get(int size)
{
        return SHIM_FAILS(SHIM_SQLITE_MEMORY, "sqlite malloc") ? NULL : memory.xMalloc(size);
}

static void *memory_change(void *p, int size)
{
        return SHIM_FAILS(SHIM_SQLITE_MEMORY, "sqlite realloc") ? NULL : memory.xRealloc(p, size);
}

/* A file of ours is this, then the system's. */
struct file {
        sqlite3_file base;
        sqlite3_file *real;
};

static sqlite3_vfs *system_vfs;

static sqlite3_file *real(sqlite3_file *f)
{
        return ((struct file *)f)->real;
}

#define FAIL(code, call)                                        \
        do {                                                    \
                if (SHIM_FAILS(SHIM_SQLITE_FILE, "sqlite " call)) \
                        return code;                            \
        } while (0)
#define FULL(call)                                              \
        do {                                                    \
                if (SHIM_FAILS(SHIM_SQLITE_FULL, "sqlite " call)) \
                        return SQLITE_FULL;                     \
        } while (0)

static int file_close(sqlite3_file *f)
{
        return real(f)->pMethods ? real(f)->pMethods->xClose(real(f)) : SQLITE_OK;
}

static int file_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 at)
{
        FAIL(SQLITE_IOERR_READ, "read");
        return real(f)->pMethods->xRead(real(f), buf, len, at);
}

static int file_write(sqlite3_file *f, const void *buf, int len, sqlite3_int64 at)
{
        FAIL(SQLITE_IOERR_WRITE, "write");
        FULL("write");
        return real(f)->pMethods->xWrite(real(f), buf, len, at);
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
        FAIL(SQLITE_IOERR_TRUNCATE, "truncate");
        return real(f)->pMethods->xTruncate(real(f), size);
}

static int file_sync(sqlite3_file *f, int flags)
{
        FAIL(SQLITE_IOERR_FSYNC, "sync");
        return real(f)->pMethods->xSync(real(f), flags);
}

static int file_size(sqlite3_file *f, sqlite3_int64 *ret)
{
        FAIL(SQLITE_IOERR_FSTAT, "size");
        return real(f)->pMethods->xFileSize(real(f), ret);
}

static int file_lock(sqlite3_file *f, int level)
{
        FAIL(SQLITE_IOERR_LOCK, "lock");
        return real(f)->pMethods->xLock(real(f), level);
}

static int file_unlock(sqlite3_file *f, int level)
{
        return real(f)->pMethods->xUnlock(real(f), level);
}

static int file_check_lock(sqlite3_file *f, int *ret)
{
        FAIL(SQLITE_IOERR_CHECKRESERVEDLOCK, "check lock");
        return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}

static int file_control(sqlite3_file *f, int op, void *arg)
{
        return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int file_sector(sqlite3_file *f)
{
        return real(f)->pMethods->xSectorSize(real(f));
}

static int file_device(sqlite3_file *f)
{
        return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
        FAIL(SQLITE_IOERR_SHMMAP, "shared memory");
        FULL("shared memory");
        return real(f)->pMethods->xShmMap(real(f), page, size, extend, ret);
}

static int shm_lock(sqlite3_file *f, int at, int n, int flags)
{
        if (flags & SQLITE_SHM_LOCK)
                FAIL(SQLITE_IOERR_SHMLOCK, "shared lock");
        return real(f)->pMethods->xShmLock(real(f), at, n, flags);
}

static void shm_barrier(sqlite3_file *f)
{
        real(f)->pMethods->xShmBarrier(real(f));
}

static int shm_unmap(sqlite3_file *f, int remove)
{
        return real(f)->pMethods->xShmUnmap(real(f), remove);
}

static const sqlite3_io_methods methods = {
        .iVersion = 2,
        .xClose = file_close,
        .xRead = file_read,
        .xWrite = file_write,
        .xTruncate = file_truncate,
        .xSync = file_sync,
        .xFileSize = file_size,
        .xLock = file_lock,
        .xUnlock = file_unlock,
        .xCheckReservedLock = file_check_lock,
        .xFileControl = file_control,
        .xSectorSize = file_sector,
        .xDeviceCharacteristics = file_device,
        .xShmMap = shm_map,
        .xShmLock = shm_lock,
        .xShmBarrier = shm_barrier,
        .xShmUnmap = shm_unmap,
};

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
        struct file *mine = (struct file *)f;
        int rc;

        (void)v;
        mine->base.pMethods = NULL;
        mine->real = (sqlite3_file *)(mine + 1);
        FAIL(SQLITE_CANTOPEN, "open");
        FULL("open");
        rc = system_vfs->xOpen(system_vfs, name, mine->real, flags, ret_flags);
        if (rc == SQLITE_OK)
                mine->base.pMethods = &methods;
        return rc;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync)
{
        (void)v;
        FAIL(SQLITE_IOERR_DELETE, "delete");
        return system_vfs->xDelete(system_vfs, name, sync);
}

static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *ret)
{
        (void)v;
        FAIL(SQLITE_IOERR_ACCESS, "access");
        return system_vfs->xAccess(system_vfs, name, flags, ret);
}

void shim_sqlite_init(void);
void shim_sqlite_init(void)
{
        static sqlite3_mem_methods ours;
        static sqlite3_vfs vfs;

        sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);
        ours = memory;
        ours.xMalloc = memory_get;
        ours.xRealloc = memory_change;
        sqlite3_config(SQLITE_CONFIG_MALLOC, &ours);
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0); /* each allocation is one that can fail */

        system_vfs = sqlite3_vfs_find(NULL);
        vfs = *system_vfs;
        vfs.zName = "faults";
        vfs.szOsFile = (int)sizeof(struct file) + system_vfs->szOsFile;
        vfs.xOpen = vfs_open;
        vfs.xDelete = vfs_delete;
        vfs.xAccess = vfs_access;
        sqlite3_vfs_register(&vfs, 1);
}
