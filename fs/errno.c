/*
 * Implementation of errno.h: the table of design decisions, one line each.
 *
 *   absent, forbidden by policy, offline and not held     ENOENT
 *   gated, disabled, token refused                        EACCES
 *   the hub cannot be reached and nothing held answers    EIO, never ENOENT, never cached
 *   the hash was wrong twice                              EIO
 *   a signal that may ask to break off (asker.h)          EINTR
 *   the store is full, or as full as it may get           ENOSPC
 *   the repo would bring more than it may in an hour      EDQUOT
 */
#include "fs/errno.h"

#include "fetch/fetch.h"

#include <errno.h>

int errno_of(int result)
{
        switch (result) {
        case 0:
                return 0;
        case FETCH_E_ABSENT:
        case FETCH_E_POLICY:
        case FETCH_E_OFFLINE:
        case -ENOENT:
                return ENOENT;
        case FETCH_E_FORBIDDEN:
                return EACCES;
        case FETCH_E_LIMIT:
                return EDQUOT;
        case -ENOSPC:
        case -EDQUOT:
                return ENOSPC;
        case -ECANCELED:
        case -EINTR:
                return EINTR;
        case -ESTALE:
                return ESTALE;
        case -ENOTDIR:
                return ENOTDIR;
        case -EISDIR:
                return EISDIR;
        case -EROFS:
                return EROFS;
        case -EINVAL:
                return EINVAL;
        case -ENAMETOOLONG:
                return ENAMETOOLONG;
        case -ENOMEM:
                return ENOMEM;
        default:
                return EIO;
        }
}
