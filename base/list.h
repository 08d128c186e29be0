/*
 * Intrusive doubly linked list: a head and its nodes are both struct list; an empty one points
 * at itself. Nodes are embedded in their owner; LIST_OWNER() finds it.
 *
 * Threads    None of its own; the owner's lock protects a list.
 */
#pragma once

#include "base/util.h"

#include <stdbool.h>

struct list {
        struct list *prev, *next;
};

#define LIST_INIT(name) { &(name), &(name) }
#define LIST_OWNER(node, type, member) CONTAINER_OF(node, type, member)

/* Walks the list; the current node may be removed meanwhile. */
#define LIST_FOREACH(node, head)                                                          \
        for (struct list *node = (head)->next, *node##_next = node->next; node != (head); \
             node = node##_next, node##_next = node->next)

static inline void list_init(struct list *l)
{
        l->prev = l->next = l;
}

static inline bool list_empty(const struct list *head)
{
        return head->next == head;
}

static inline void list_add_before(struct list *at, struct list *node)
{
        node->prev = at->prev;
        node->next = at;
        at->prev->next = node;
        at->prev = node;
}

static inline void list_push(struct list *head, struct list *node) /* at the end */
{
        list_add_before(head, node);
}

/* Takes the node out and leaves it empty, so that a second removal is harmless. */
static inline void list_remove(struct list *node)
{
        node->prev->next = node->next;
        node->next->prev = node->prev;
        list_init(node);
}

/* The first node, taken out, or NULL. */
static inline struct list *list_pop(struct list *head)
{
        struct list *node = head->next;

        if (node == head)
                return NULL;
        list_remove(node);
        return node;
}

/* Moves all nodes of @from to the end of @to; @from is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
        if (list_empty(from))
                return;
        from->next->prev = to->prev;
        from->prev->next = to;
        to->prev->next = from->next;
        to->prev = from->prev;
        list_init(from);
}
