/*
 * The one place where an outcome becomes the errno that a user sees.
 */
#pragma once

/* @result: 0, FETCH_E_*, CATALOG_E_*-free negative errno. Returns a positive errno for the kernel. */
int errno_of(int result);
