//! The domain's calls against the host's loopback.

use std::sync::Arc;

use libnet::driver::threads::ThreadDriver;
use libnet::net::SocketLayer;
use sockin::Sockin;

mod ancillary;
mod basics;
mod capture;
mod life;
mod options;
mod urgent;

fn layer(domain: &Arc<Sockin>) -> SocketLayer {
    SocketLayer::new(vec![domain.clone()], ThreadDriver::new(), Box::new(())).unwrap()
}

fn new_layer() -> SocketLayer {
    layer(&Arc::new(Sockin::new().unwrap()))
}
