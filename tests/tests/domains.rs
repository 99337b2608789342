//! Which domain serves a family is chosen when the stack is built, and only once.

use std::io::ErrorKind;

use rumpnet::Stack;
use rumpnet::libnet::pair::{PairConfig, pair};
use rumpnet::sockin::Sockin;

#[test]
fn interfaces_and_the_hosts_sockets_at_once_are_refused_in_words() {
    let (one, _other) = pair(&PairConfig::default());
    let builder = Stack::builder().interface(one).domain(Sockin::new().unwrap());
    let error = builder.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("give the builder the one or the other"), "{error}");
}

#[test]
fn two_domains_of_one_family_are_refused_in_words() {
    let builder = Stack::builder().domain(Sockin::new().unwrap()).domain(Sockin::new().unwrap());
    let error = builder.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("two domains serve PF_INET"), "{error}");
}

#[test]
fn a_stack_over_the_hosts_sockets_has_no_internet_protocols_of_its_own() {
    let stack = Stack::builder().domain(Sockin::new().unwrap()).start().unwrap();
    assert!(stack.inet().is_none());
    assert!(Stack::builder().start().unwrap().inet().is_some());
}
