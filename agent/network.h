/*
 * network: the network's side of an agent, a process of its own: it has the sockets, speaks TLS and
 * looks at every message before it hands it on. It has no privileges and keeps nothing; what it
 * takes to connect it is told each time, through the channel.
 *
 * Threading: a main function. I/O: sockets, and the channel.
 */
#pragma once

/* The first argument of this program when it is that process. */
#define NETWORK_MODE "network-side"

/* Runs it, as carrier_process started it: UID GID (or - -), FILES, log format and level; the
 * channel is standard input. Never returns. */
_Noreturn void network_main(int argc, char **argv);
