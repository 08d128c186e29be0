/*
 * Implementation of policy.h.
 */
#include "fetch/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int check_glob(const char *glob, struct errmsg *err)
{
        static const char allowed[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/*?[]!^";

        if (glob[0] == '\0')
                return errmsg_set(err, -EINVAL, "an allow or deny pattern is empty");
        if (strlen(glob) > POLICY_GLOB_MAX)
                return errmsg_set(err, -EINVAL, "the pattern \"%.40s...\" is longer than %d bytes", glob,
                                  POLICY_GLOB_MAX);
        if (strspn(glob, allowed) != strlen(glob))
                return errmsg_set(err, -EINVAL,
                                  "the pattern \"%s\" has a character that no repo's name has; write it like "
                                  "\"Org/*\" or \"datasets/Org/Name\"",
                                  glob);
        if (strchr(glob, '[') && !strchr(strchr(glob, '['), ']'))
                return errmsg_set(err, -EINVAL, "the pattern \"%s\" has a \"[\" without its \"]\"", glob);
        if (glob[0] == '/' || strstr(glob, "://"))
                return errmsg_set(err, -EINVAL, "the pattern \"%s\" is not of the form \"Org/Name\"", glob);
        return 0;
}

static char **list_free(char **list)
{
        for (size_t i = 0; list && list[i]; i++)
                free(list[i]);
        free(list);
        return NULL;
}

static int copy_list(const char *const *from, char ***ret, struct errmsg *err)
{
        size_t count = 0;
        char **list;

        if (!from)
                return 0;
        while (from[count])
                count++;
        list = calloc(count + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                int r = check_glob(from[i], err);

                list[i] = r == 0 ? strdup(from[i]) : NULL;
                if (!list[i]) {
                        list_free(list);
                        return r < 0 ? r : -ENOMEM;
                }
        }
        *ret = list;
        return 0;
}

int policy_init(struct policy *p, const char *const *allow, const char *const *deny, struct errmsg *err)
{
        int r;

        *p = (struct policy){};
        r = copy_list(allow, &p->allow, err);
        if (r == 0)
                r = copy_list(deny, &p->deny, err);
        if (r < 0)
                policy_done(p);
        return r;
}

void policy_done(struct policy *p)
{
        p->allow = list_free(p->allow);
        p->deny = list_free(p->deny);
}

static bool any_matches(char *const *globs, enum repo_type type, const char *name)
{
        char typed[REPO_NAME_MAX + 16];

        snprintf(typed, sizeof(typed), "%s/%s", repo_type_plural(type), name);
        for (; *globs; globs++)
                if (glob_match(*globs, typed) || (type == REPO_MODEL && glob_match(*globs, name)))
                        return true;
        return false;
}

bool policy_denies(const struct policy *p, enum repo_type type, const char *name)
{
        return p->deny && any_matches(p->deny, type, name);
}

bool policy_allows(const struct policy *p, enum repo_type type, const char *name)
{
        if (policy_denies(p, type, name))
                return false;
        return !p->allow || any_matches(p->allow, type, name);
}
