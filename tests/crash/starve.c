/*
 * Preloaded into weightfs: lets it want for memory while it runs.
 *
 *   STARVE_CONTROL   a file of a struct control, mapped: who holds it says from outside, at any time, what fails
 *   STARVE_OBJECTS   whose allocations fail: parts of the names of programs and libraries, separated by commas.
 *                    Left out are the C library and jansson: what they do then is not ours (jansson aborts).
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct control {
        uint64_t first; /* the pass that fails; 0: none */
        uint64_t every; /* and each so manieth after it; 0: no other */
        _Atomic uint64_t passes, fired;
};

#define OBJECTS_MAX 16

static struct object {
        uintptr_t start, end;
} objects[OBJECTS_MAX];
static unsigned count;
static struct control *control;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static bool is_wanted(const char *name)
{
        const char *list = getenv("STARVE_OBJECTS");

        for (size_t len; list && *list; list += len + (list[len] == ',')) {
                len = strcspn(list, ",");
                if (memmem(name, strlen(name), list, len))
                        return true;
        }
        return false;
}

static int note_object(struct dl_phdr_info *o, size_t size, void *arg)
{
        (void)size, (void)arg;
        /* the program itself has no name here */
        if (!is_wanted(o->dlpi_name[0] ? o->dlpi_name : "weightfs"))
                return 0;
        for (int i = 0; i < o->dlpi_phnum && count < OBJECTS_MAX; i++)
                if (o->dlpi_phdr[i].p_type == PT_LOAD && o->dlpi_phdr[i].p_flags & PF_X) {
                        uintptr_t start = o->dlpi_addr + o->dlpi_phdr[i].p_vaddr;

                        objects[count++] = (struct object){ start, start + o->dlpi_phdr[i].p_memsz };
                }
        return 0;
}

__attribute__((constructor)) static void begin(void)
{
        const char *path = getenv("STARVE_CONTROL");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *map;

        if (fd < 0)
                return;
        dl_iterate_phdr(note_object, NULL);
        map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (map != MAP_FAILED)
                control = map;
}

static bool fails(const void *caller)
{
        uintptr_t at = (uintptr_t)caller;
        uint64_t pass, first, every;
        unsigned i = 0;

        if (!control)
                return false;
        while (i < count && (at < objects[i].start || at >= objects[i].end))
                i++;
        if (i == count)
                return false;
        pass = atomic_fetch_add(&control->passes, 1) + 1;
        first = control->first;
        every = control->every;
        if (first == 0 || pass < first || (pass > first && (every == 0 || (pass - first) % every != 0)))
                return false;
        atomic_fetch_add(&control->fired, 1);
        errno = ENOMEM;
        return true;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
        return fails(CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
        return fails(CALLER) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
        return fails(CALLER) ? NULL : __libc_realloc(p, size);
}
