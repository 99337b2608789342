//! path_mtu
