"""`wfpd bench`: what deciding a packet by a policy costs on this machine, in network namespaces of its own."""
