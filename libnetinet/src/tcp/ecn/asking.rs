//! What SYNs ask for, and what a listener answers.

use super::accurate::{Accurate, ace_of, flags_of, handshake_code};
use super::option::MarkedBytes;
use super::policy::EcnOption;
use super::{EcnField, EcnUse};
use crate::tcp::config::TcpConfig;
use crate::tcp::request::Request;
use crate::tcp::segment::{Flags, Segment};

/// What an ECN-setup SYN has. Source: RFC 3168 §6.1.1.
pub(super) const ASKING: Flags = Flags::ECE.with(Flags::CWR);
/// What one has that asks for accurate feedback. Source: RFC 9768 §3.1.1.
pub(super) const ASKING_ACCURATE: Flags = ASKING.with(Flags::AE);
/// The three flags. Source: RFC 9768 §3.2.2.
pub(in crate::tcp) const ALL_FLAGS: Flags = ASKING_ACCURATE;
/// As numbers of three bits, a SYN that asks for nothing, and one for the classic form.
pub(super) const ASKS_NOTHING: u8 = 0b000;
const ASKS_CLASSIC: u8 = 0b011;

/// RFC 9768 §3.1.2, table 2, and §3.1.3: what a SYN asks for, `most` at most.
pub(super) fn asked_by(most: EcnUse, syn: &Segment) -> EcnUse {
    let ace = ace_of(syn.flags);
    // As on Linux: one for the classic form that came with more than it was sent with crossed a
    // network that makes something else of these bits.
    let clean = syn.ecn == EcnField::NotEct || syn.flags.has(Flags::AE);
    match most {
        EcnUse::Accurate if ace != ASKS_NOTHING && ace != ASKS_CLASSIC => EcnUse::Accurate,
        EcnUse::Off => EcnUse::Off,
        _ if syn.flags.only(ASKING) == ASKING && clean => EcnUse::Classic,
        _ => EcnUse::Off,
    }
}

/// What the SYN-ACK of a listener says, sent after so many time-outs.
pub(in crate::tcp) struct Answer {
    pub(in crate::tcp) flags: Flags,
    pub(in crate::tcp) option: Option<MarkedBytes>,
}

/// The answer of a listener to a SYN. Source: RFC 3168 §6.1.1, RFC 9768 §3.1.1, §3.2.3.2.2.
pub(in crate::tcp) fn answer_of_listener(config: &TcpConfig, request: &Request) -> Answer {
    let syn = request.syn();
    match asked_by(config.ecn.accepts(), &syn) {
        EcnUse::Off => Answer { flags: Flags::NONE, option: None },
        EcnUse::Classic => Answer { flags: Flags::ECE, option: None },
        EcnUse::Accurate if gives_up_accurate(config, request.retries) => {
            Answer { flags: Flags::NONE, option: None }
        }
        EcnUse::Accurate => {
            let flags = flags_of(handshake_code(syn.ecn));
            // Signatures and cookies leave no room.
            let tries = config.ecn_option != EcnOption::Off
                && !request.resent
                && !request.gives_cookie
                && request.auth.is_none();
            let accurate = Accurate::new(syn.ecn, config.ecn_option);
            Answer { flags, option: tries.then(|| accurate.whole_option()) }
        }
    }
}

/// RFC 9768 §3.1.4.1, §3.2.3.2.2 (SHOULD): tried twice.
pub(super) fn gives_up_accurate(config: &TcpConfig, retries: u8) -> bool {
    config.ecn_fallback && retries >= 2
}

/// The flags of a SYN of which a cookie has kept that its answer agreed on ECN: `seg`, which brings the
/// cookie, tells on which form. Source: RFC 9768 §5.1.
pub(in crate::tcp) fn flags_kept(config: &TcpConfig, agreed: bool, seg: &Segment) -> Flags {
    match (agreed, ace_of(seg.flags), config.ecn.accepts()) {
        (false, ..) => Flags::NONE,
        (true, 2.., EcnUse::Accurate) => ASKING_ACCURATE,
        _ => ASKING,
    }
}

/// The flags that an acknowledgement of a half-open connection has: a count that has not begun.
pub(in crate::tcp) fn flags_of_request(config: &TcpConfig, request: &Request) -> Flags {
    match asked_by(config.ecn.accepts(), &request.syn()) {
        EcnUse::Accurate => Accurate::new(EcnField::NotEct, config.ecn_option).tell(),
        _ => Flags::NONE,
    }
}

/// A listener's SYN came again; without the flags, its first one was lost with them, or our answer was
/// (RFC 3168 §6.1.1.1). `false` if it asks for another form than it did: who says both cannot be told
/// which is in use, and is reset (RFC 9768 §3.1.5, MUST).
#[must_use]
pub(in crate::tcp) fn take_syn_again(
    config: &TcpConfig,
    request: &mut Request,
    syn: &Segment,
) -> bool {
    if !is_same_form(ace_of(request.syn_flags), syn) {
        return false;
    }
    let asks_nothing = ace_of(syn.flags) == ASKS_NOTHING;
    if asked_by(config.ecn.accepts(), &request.syn()) == EcnUse::Accurate {
        // RFC 9768 §3.1.5 (MUST): the latest is told of, and the form stays.
        request.syn_ecn = syn.ecn;
        request.plain_syn |= asks_nothing;
    } else if asks_nothing {
        request.syn_flags = Flags::SYN;
    }
    true
}

pub(super) fn is_same_form(first: u8, syn: &Segment) -> bool {
    let form = |ace: u8| (ace != ASKS_NOTHING).then_some(ace == ASKS_CLASSIC);
    match (form(first), form(ace_of(syn.flags))) {
        (Some(first), Some(now)) => first == now,
        _ => true,
    }
}
