/*
 * The control protocol. First byte even: what a client sends to a daemon (an offline one, with a
 * catalogue); odd: what a daemon answers to a client, and its printing.
 */
#include "cli/client.h"
#include "cli/control.h"
#include "cli/jsonio.h"
#include "cli/pull_view.h"
#include "cli/show.h"

#include "scratch.h"

#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct service service;
static struct options options;
static struct control *control;
static FILE *nowhere;

static void begin(void)
{
        const struct listed_file file = { "config.json", "9e26dfeeb6e641a33dae4961196235bdb965b21b", 2 };
        struct index_options io = { .store = scratch_at("store"), .state = scratch_at("state") };
        struct fetch_options fo = { .endpoint = "http://127.0.0.1:1", .offline = true };
        struct errmsg err = {};
        struct commit commit;
        struct repo repo;
        struct ref ref;

        assert(index_open(&io, &service.index, &err) == 0);
        assert(catalog_repo_put(service.index.catalog, REPO_MODEL, "a/one", "a/one", true, &repo) == 0);
        assert(catalog_commit_put(service.index.catalog, repo.id, "1111111111111111111111111111111111111111", 1, true,
                                  &file, 1, &commit) == 0);
        assert(catalog_ref_set(service.index.catalog, repo.id, "main", commit.id, 1, &ref) == 0);
        assert(fetch_new(&fo, &service.index, &service.fetch, &err) == 0);
        options_init(&options);
        options.state = strdup(io.state);
        options.store = strdup(io.store);
        options.offline = true;
        service.options = &options;
        assert(control_new(&service, &control, &err) == 0);
        nowhere = fopen("/dev/null", "w");
}

/* What asks the mount, which there is none of. */
static bool is_for_mount(const char *line, size_t len)
{
        json_t *o = json_loadb(line, len, 0, NULL);
        const char *word = json_get_text(o, "command");
        bool is = strcmp(word, "status") == 0 || strcmp(word, "unmount") == 0;

        json_decref(o);
        return is;
}

static void try_requests(const char *text, size_t size)
{
        struct errmsg err = {};
        struct client c;
        json_t *answer;

        assert(client_connect(options.state, &c, &err) == 0);
        for (const char *end; size > 0 && (end = memchr(text, '\n', size)); size -= (size_t)(end + 1 - text), text = end + 1)
                if (!is_for_mount(text, (size_t)(end - text)))
                        (void)!send(c.fd, text, (size_t)(end + 1 - text), MSG_NOSIGNAL);
        shutdown(c.fd, SHUT_WR);
        while (line_read(c.reader, 100000, &answer) == 0) {
                assert(json_object_get(answer, "event") || json_object_get(answer, "result") ||
                       json_get_text(answer, "error")[0] != '\0');
                json_decref(answer);
        }
        client_close(&c);
}

static int on_event(void *arg, const json_t *event)
{
        pull_view_event(arg, event, 1);
        return 0;
}

static void try_answers(const char *text, size_t size)
{
        struct client c = { .fd = -1, .pidfd = -1 };
        struct pull_view *v = pull_view_new(nowhere, size % 2, false);
        struct errmsg err = {};
        json_t *answer = NULL;
        int pair[2];

        assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        c.fd = pair[0];
        c.reader = line_reader_new(c.fd, 1 << 20);
        assert(send(pair[1], text, size, MSG_NOSIGNAL) == (ssize_t)size);
        shutdown(pair[1], SHUT_WR);
        if (client_ask(&c, json_object(), 1000, on_event, v, &answer, &err) == 0) {
                show_status(nowhere, answer);
                show_repos(nowhere, answer);
                show_files(nowhere, answer);
                show_incomplete(nowhere, answer);
                show_json(nowhere, answer);
                json_decref(answer);
        }
        pull_view_end(v);
        pull_view_free(v);
        client_close(&c);
        close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!control) {
                scratch_begin();
                begin();
        }
        if (size < 1)
                return 0;
        if (data[0] % 2 == 0)
                try_requests((const char *)data + 1, size - 1);
        else
                try_answers((const char *)data + 1, size - 1);
        return 0;
}
