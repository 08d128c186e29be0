/*
 * Which file systems are not a local disk. SQLite's WAL needs shared memory and locks that all
 * users of the file see (sqlite.org/wal.html, "Advantages", 3); none of these promises that.
 */
#include "index/catalog_internal.h"
#include "index/index.h"

#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

/* linux/magic.h lacks what is outside the kernel and, in older versions, some of what is inside. */
static const struct {
        uint32_t type;
        const char *name;
} remote_types[] = {
        { NFS_SUPER_MAGIC, "NFS" },
        { SMB_SUPER_MAGIC, "SMB" },
        { 0xff534d42, "SMB (cifs)" },
        { 0xfe534d42, "SMB" },
        { 0x65735546, "FUSE" },
        { V9FS_MAGIC, "9p" },
        { AFS_SUPER_MAGIC, "AFS" },
        { 0x6b414653, "AFS" },
        { 0x00c36400, "Ceph" },
        { CODA_SUPER_MAGIC, "Coda" },
        { NCP_SUPER_MAGIC, "NCP" },
        { 0x0bd00bd0, "Lustre" },
        { 0x47504653, "GPFS" },
        { 0x19830326, "BeeGFS" },
        { 0x01161970, "GFS2" },
        { OCFS2_SUPER_MAGIC, "OCFS2" },
        { 0xaad7aaea, "PanFS" },
        { 0x20030528, "OrangeFS" },
        { 0x61636673, "ACFS" },
        { 0xbeefdead, "StorNext" },
        { 0x786f4256, "a VirtualBox shared folder" },
        { 0xbacbacbc, "a VMware shared folder" },
        { 0x7c7c6673, "a Parallels shared folder" },
};

const char *remote_fs_name(uint64_t type)
{
        for (size_t i = 0; i < ARRAY_SIZE(remote_types); i++)
                if (remote_types[i].type == (uint32_t)type)
                        return remote_types[i].name;
        return NULL;
}

/* Cuts the last component off; false when nothing is left to cut. */
static bool path_up(char *path)
{
        size_t len = strlen(path);

        while (len > 1 && path[len - 1] == '/')
                len--;
        if (strcmp(path, ".") == 0 || (len == 1 && path[0] == '/'))
                return false;
        while (len > 0 && path[len - 1] != '/')
                len--;
        while (len > 1 && path[len - 1] == '/')
                len--;
        if (len == 0)
                path[len++] = '.'; /* a relative path of one component */
        path[len] = '\0';
        return true;
}

const char *path_remote_fs(const char *path)
{
        char at[PATH_MAX];
        struct statfs fs;

        if (strlen(path) >= sizeof(at))
                return NULL; /* nothing can be opened there: that error comes later */
        strcpy(at, path);
        while (statfs(at, &fs) < 0)
                if (!path_up(at))
                        return NULL;
        return remote_fs_name((uint64_t)fs.f_type);
}

bool path_is_remote(const char *path)
{
        return path_remote_fs(path) != NULL;
}
