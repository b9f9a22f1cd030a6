/*
 * carrier_net: a carrier on this process's own sockets (common/net).
 *
 * Threading: the loop's thread. I/O: through net.
 */
#pragma once

#include "agent/carrier.h"

/* Takes ownership of the net on success. */
enum error_code carrier_net_new(struct net *net, struct carrier **ret_carrier,
                                struct error *err) MUST_CHECK;
