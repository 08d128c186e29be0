/*
 * Checksums under the catalogue: a layer below SQLite that seals each page when it is written to the file
 * and looks at the seal when it is read from there. SQLite itself would believe a flipped bit wherever the
 * page can still be parsed, and a wrong number of a blob there is another file's bytes for a path.
 *
 *   V1  A file is sealed when it was made so: pages reserve their last 8 bytes (byte 20 of the header), which
 *       SQLite then leaves alone. Others (made by an older version) are passed through.
 *   V2  The seal of a page is in its last 8 bytes, and is bound to the page's place. A page of zeros is a hole
 *       that was never written, and needs none.
 *   V3  What is wrong is SQLITE_IOERR_DATA: the catalogue is damaged (-EUCLEAN).
 *
 * The log (WAL) has checksums of its own, from which SQLite recovers; its pages come by here when they are
 * moved into the file. All else goes straight to the system's VFS.
 */
#include "index/catalog_internal.h"

#include <endian.h>
#include <string.h>

#define PAGE_MIN 512

struct sealed_file {
        sqlite3_file base;
        bool main, sealed;
        sqlite3_file *real; /* behind this struct */
};

#define REAL(f) (((struct sealed_file *)(f))->real)

/* Two sums of the page's words, the second weighing each by its place (Fletcher). */
static uint64_t seal_of(const unsigned char *page, size_t len, uint64_t at)
{
        uint64_t a = at ^ 0x9e3779b97f4a7c15u, b = 1, word;

        for (size_t i = 0; i + 8 < len; i += 8) {
                memcpy(&word, page + i, sizeof(word));
                a += le64toh(word);
                b += a;
        }
        return a ^ (b << 32 | b >> 32);
}

bool catalog_page_holds(const unsigned char *page, size_t len, uint64_t at)
{
        uint64_t seal;

        memcpy(&seal, page + len - sizeof(seal), sizeof(seal));
        return le64toh(seal) == seal_of(page, len, at);
}

static bool is_page(const struct sealed_file *f, int len, sqlite3_int64 at)
{
        return f->main && len >= PAGE_MIN && (len & (len - 1)) == 0 && at % len == 0;
}

/* V1: what the header says, when it comes by: twice, so that no flipped bit makes a sealed file another. */
static void note_header(struct sealed_file *f, const unsigned char *buf, int len, sqlite3_int64 at)
{
        uint32_t id;

        if (!f->main || at != 0 || len < 72)
                return;
        memcpy(&id, buf + 68, sizeof(id));
        f->sealed |= buf[20] == CATALOG_SEAL_BYTES || be32toh(id) == CATALOG_APPLICATION_ID;
}

static bool is_zero(const unsigned char *page, int len)
{
        return page[0] == 0 && memcmp(page, page + 1, (size_t)len - 1) == 0;
}

static int sealed_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 at)
{
        struct sealed_file *f = (struct sealed_file *)file;
        int rc = f->real->pMethods->xRead(f->real, buf, len, at);

        if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
                return rc;
        if (rc == SQLITE_OK)
                note_header(f, buf, len, at);
        if (!f->sealed || !is_page(f, len, at))
                return rc;
        /* SQLite takes for zeros what is behind the end of the file, also within a page that was cut */
        return catalog_page_holds(buf, (size_t)len, (uint64_t)at) || is_zero(buf, len) ? rc : SQLITE_IOERR_DATA;
}

static int sealed_write(sqlite3_file *file, const void *buf, int len, sqlite3_int64 at)
{
        struct sealed_file *f = (struct sealed_file *)file;
        uint64_t seal;

        note_header(f, buf, len, at);
        if (f->sealed && is_page(f, len, at)) {
                /* in place: these bytes are nobody else's (V1) */
                seal = htole64(seal_of(buf, (size_t)len, (uint64_t)at));
                memcpy((char *)buf + len - sizeof(seal), &seal, sizeof(seal));
        }
        return f->real->pMethods->xWrite(f->real, buf, len, at);
}

/* ---- passed through ---- */

static int sealed_close(sqlite3_file *f)
{
        return REAL(f)->pMethods->xClose(REAL(f));
}

static int sealed_truncate(sqlite3_file *f, sqlite3_int64 size)
{
        return REAL(f)->pMethods->xTruncate(REAL(f), size);
}

static int sealed_sync(sqlite3_file *f, int flags)
{
        return REAL(f)->pMethods->xSync(REAL(f), flags);
}

static int sealed_size(sqlite3_file *f, sqlite3_int64 *ret)
{
        return REAL(f)->pMethods->xFileSize(REAL(f), ret);
}

static int sealed_lock(sqlite3_file *f, int level)
{
        return REAL(f)->pMethods->xLock(REAL(f), level);
}

static int sealed_unlock(sqlite3_file *f, int level)
{
        return REAL(f)->pMethods->xUnlock(REAL(f), level);
}

static int sealed_check_lock(sqlite3_file *f, int *ret)
{
        return REAL(f)->pMethods->xCheckReservedLock(REAL(f), ret);
}

static int sealed_control(sqlite3_file *f, int op, void *arg)
{
        return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}

static int sealed_sector(sqlite3_file *f)
{
        return REAL(f)->pMethods->xSectorSize(REAL(f));
}

static int sealed_traits(sqlite3_file *f)
{
        return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}

static int sealed_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **ret)
{
        return REAL(f)->pMethods->xShmMap(REAL(f), region, size, extend, ret);
}

static int sealed_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
        return REAL(f)->pMethods->xShmLock(REAL(f), offset, n, flags);
}

static void sealed_shm_barrier(sqlite3_file *f)
{
        REAL(f)->pMethods->xShmBarrier(REAL(f));
}

static int sealed_shm_unmap(sqlite3_file *f, int remove)
{
        return REAL(f)->pMethods->xShmUnmap(REAL(f), remove);
}

/* Version 2: without xFetch(), by which pages would come unseen. */
static const sqlite3_io_methods methods = {
        .iVersion = 2,
        .xClose = sealed_close,
        .xRead = sealed_read,
        .xWrite = sealed_write,
        .xTruncate = sealed_truncate,
        .xSync = sealed_sync,
        .xFileSize = sealed_size,
        .xLock = sealed_lock,
        .xUnlock = sealed_unlock,
        .xCheckReservedLock = sealed_check_lock,
        .xFileControl = sealed_control,
        .xSectorSize = sealed_sector,
        .xDeviceCharacteristics = sealed_traits,
        .xShmMap = sealed_shm_map,
        .xShmLock = sealed_shm_lock,
        .xShmBarrier = sealed_shm_barrier,
        .xShmUnmap = sealed_shm_unmap,
};

static int sealed_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
        sqlite3_vfs *system = vfs->pAppData;
        struct sealed_file *f = (struct sealed_file *)file;
        int rc;

        memset(f, 0, sizeof(*f));
        f->real = (sqlite3_file *)(f + 1);
        f->main = flags & SQLITE_OPEN_MAIN_DB;
        rc = system->xOpen(system, name, f->real, flags, ret_flags);
        f->base.pMethods = f->real->pMethods ? &methods : NULL; /* SQLite closes what has methods */
        return rc;
}

int catalog_vfs_register(void)
{
        static sqlite3_vfs vfs;
        sqlite3_vfs *system = sqlite3_vfs_find(NULL);

        if (!system)
                return SQLITE_ERROR;
        vfs = *system; /* its functions for names, time and randomness take no notice of whose they are */
        vfs.pNext = NULL;
        vfs.zName = CATALOG_VFS;
        vfs.pAppData = system;
        vfs.szOsFile = (int)sizeof(struct sealed_file) + system->szOsFile;
        vfs.xOpen = sealed_open;
        return sqlite3_vfs_register(&vfs, 0);
}
