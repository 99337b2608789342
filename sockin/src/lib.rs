//! The host's own sockets as a domain of libnet's socket layer, in place of libnet and libnetinet.
//!
//! Nothing of it is there yet: the folder and its place among the layers are kept for it.
