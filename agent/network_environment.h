/*
 * network_environment: what the network process finds in its environment: of the agent's only what
 * a program without work of its own needs. The agent's may hold secrets (secrets.h), and this
 * process is the one that strangers can reach.
 *
 * Threading: the environment must not be changed meanwhile. I/O: none.
 */
#pragma once

/* A list that ends with NULL; the texts are the environment's own. Caller frees the list with
 * mem_free. NULL: memory is out. */
char **network_environment(void);
