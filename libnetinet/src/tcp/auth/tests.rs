//! The published vectors of TCP-AO (RFC 9235), and what the keys of a socket are for.

use std::net::IpAddr;

use bytes::Bytes;
use libnet::socket::{AoAlgorithm, AoKey, Md5Key};
use libnet::{Checksum, IfIndex, Packet};

use super::ao::Ao;
use super::*;

/// A segment of RFC 9235: its IP packet, both initial numbers, the sender's first, how it is signed.
struct Vector {
    section: &'static str,
    packet: &'static str,
    isns: (u32, u32),
    algorithm: AoAlgorithm,
    include_options: bool,
}

const CLIENT_ID: u8 = 61;
const SERVER_ID: u8 = 84;

const VECTORS: &[Vector] = &[
    Vector {
        section: "4.1.1",
        packet: "45e0004cdd0f4000ff06bf6b0a0b0c0dac1b1c1d e9d700b3fbfbab5a00000000e002ffffcac40000
            020405b40103030804 02080a00155ab7000000001d103d542ee437c6f8ede6d7c4d602e7",
        isns: (0xfbfb_ab5a, 0),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: true,
    },
    Vector {
        section: "4.1.2",
        packet: "45e0004c65064000ff063775ac1b1c1d0a0b0c0d 00b3e9d711c14261fbfbab5be012ffff37760000
            020405b40103030804 02080a84a50beb00155ab71d10543deeab0fe24c3010815116b3be",
        isns: (0x11c1_4261, 0xfbfb_ab5a),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: true,
    },
    Vector {
        section: "4.1.3",
        packet: "45e0008736a14000ff06659f0a0b0c0dac1b1c1d e9d700b3fbfbab5b11c14262c0180104a1620000
            0101080a00155ac184a50beb1d103d547064cf998cc6c315c2c2e2bf
            ffffffffffffffffffffffffffffffff00430104dabf00b40a0b0c0d2602060104000100010202800002020200
            02024200020641040000dabf02084006006400010100",
        isns: (0xfbfb_ab5a, 0x11c1_4261),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: true,
    },
    Vector {
        section: "4.1.4",
        packet: "45e000871fa94000ff067c97ac1b1c1d0a0b0c0d 00b3e9d711c14262fbfbab9ec0180100400c0000
            0101080a84a50bf500155ac11d10543da63f0ecbbb2e635c954deac7
            ffffffffffffffffffffffffffffffff00430104dac000b4ac1b1c1d2602060104000100010202800002020200
            02024200020641040000dac002084006006400010100",
        isns: (0x11c1_4261, 0xfbfb_ab5a),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: true,
    },
    Vector {
        section: "4.2.1",
        packet: "45e0004c53994000ff0648e20a0b0c0dac1b1c1d ff1200b3cb0efbee00000000e002ffff541f0000
            020405b40103030804 02080a00024cce000000001d103d5480af3cfeb85368937b8f9ec2",
        isns: (0xcb0e_fbee, 0),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: false,
    },
    Vector {
        section: "4.2.2",
        packet: "45e0004c32844000ff0669f7ac1b1c1d0a0b0c0d 00b3ff12acd5b5e1cb0efbefe012ffff388e0000
            020405b40103030804 02080a576772f300024cce1d10543d09306f9acea63a8c68cb9a70",
        isns: (0xacd5_b5e1, 0xcb0e_fbee),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: false,
    },
    Vector {
        section: "5.1.1",
        packet: "45e0004c7b9f4000ff0620dc0a0b0c0dac1b1c1d c4fa00b3787a1ddf00000000e002ffff5a0f0000
            020405b40103030804 02080a00017ed0000000001d103d54e477e99c8040765498e55091",
        isns: (0x787a_1ddf, 0),
        algorithm: AoAlgorithm::AesCmac,
        include_options: true,
    },
    Vector {
        section: "6.1.1",
        packet: "6e0891dc00380640fd000000000000000000000000000001fd000000000000000000000000000002
            f7e400b3176a833f00000000e002ffff47210000020405a00103030804 02080a0041d08700000000
            1d103d549033ec3d7334b64c5edd039f",
        isns: (0x176a_833f, 0),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: true,
    },
    Vector {
        section: "6.1.2",
        packet: "6e01009e00380640fd000000000000000000000000000002fd000000000000000000000000000001
            00b3f7e43f51994b176a8340e012ffffbfec0000020405a00103030804 02080abd33129b0041d087
            1d10543df1cba346c3526163f71f1f55",
        isns: (0x3f51_994b, 0x176a_833f),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: true,
    },
    Vector {
        section: "6.2.2",
        packet: "6e0a7e1f00380640fd000000000000000000000000000002fd000000000000000000000000000001
            00b3c6cdeba3734d020c1e6ae012ffff774d0000020405a00103030804 02080a5ec99b70009db95b
            1d10543d3c546bad9743f12df8b8010d",
        isns: (0xeba3_734d, 0x020c_1e69),
        algorithm: AoAlgorithm::HmacSha1,
        include_options: false,
    },
    Vector {
        section: "7.1.2",
        packet: "6e06152000380640fd000000000000000000000000000002fd000000000000000000000000000001
            00b3f85aa6744ecb193cccede012ffffeabb0000020405a00103030804 02080a71daabc813e4ab99
            1d10543ddc2843a84e78a6bcfdc5ed80",
        isns: (0xa674_4ecb, 0x193c_ccec),
        algorithm: AoAlgorithm::AesCmac,
        include_options: true,
    },
    Vector {
        section: "7.1.4",
        packet: "6e06152000730640fd000000000000000000000000000002fd000000000000000000000000000001
            00b3f85aa6744ecc193ccd30c018010052f400000101080a71daabd313e4aba31d10543dc1069b7dfd3d693a
            6df3f289ffffffffffffffffffffffffffffffff00430104fde800b40101017a2602060104000100010202800002
            02020002024200020641040000fde802084006006400010100",
        isns: (0xa674_4ecb, 0x193c_ccec),
        algorithm: AoAlgorithm::AesCmac,
        include_options: true,
    },
];

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    digits.chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

/// The segment, with the ends of the packet that it was in.
fn segment_of(ip: &[u8]) -> (Packet, IpAddr, IpAddr) {
    let (src, dst, tcp): (IpAddr, IpAddr, usize) = if ip[0] >> 4 == 4 {
        let addr = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).expect("four"));
        (addr(12), addr(16), 20)
    } else {
        let addr = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).expect("16"));
        (addr(8), addr(24), 40)
    };
    let mut packet = Packet::from_payload(Bytes::copy_from_slice(&ip[tcp..]));
    packet.checksum = Checksum::Trusted;
    (packet, src, dst)
}

/// The receiver's keys for a vector, as the sender's are the other way round.
fn receiver(vector: &Vector, from_client: bool, peer: IpAddr) -> Ao {
    let (receive_id, send_id) =
        if from_client { (CLIENT_ID, SERVER_ID) } else { (SERVER_ID, CLIENT_ID) };
    let key = AoKey {
        send_id,
        receive_id,
        algorithm: vector.algorithm,
        include_options: vector.include_options,
        ..AoKey::new(peer, 0, b"testvector")
    };
    Ao::new(vec![key]).expect("a key")
}

#[test]
fn the_segments_of_rfc_9235_are_taken_and_changed_ones_are_not() {
    for vector in VECTORS {
        let ip = from_hex(vector.packet);
        let (mut packet, src, dst) = segment_of(&ip);
        let seg = Segment::parse(&mut packet, IfIndex(2), src, dst).expect("well-formed");
        let from_client = seg.tuple.local_port == 179;
        let isns =
            Isns { local: SeqNumber::new(vector.isns.1), remote: SeqNumber::new(vector.isns.0) };
        let check = |packet: &Packet| {
            let mut auth = ConnAuth::Ao(receiver(vector, from_client, src));
            auth.check(&seg, packet, isns)
        };
        assert_eq!(check(&packet), Ok(()), "{}", vector.section);
        // A bit of the window, of the signature, and the last of what it covers.
        let last = packet.len() - 1;
        for at in [14, last.min(50), last] {
            let mut other = packet.clone();
            let mut byte = [0];
            other.copy_to(at, &mut byte);
            other.write_at(at, &[byte[0] ^ 1]);
            assert_eq!(check(&other), Err(Forgery::Wrong), "{} at {at}", vector.section);
        }
    }
}

#[test]
fn a_number_that_wraps_counts_on() {
    let key = AoKey::new([10, 0, 0, 1].into(), 1, b"key");
    let sign = |ao: &mut Ao, seq: u32| {
        let tuple = FourTuple {
            local: [10, 0, 0, 2].into(),
            remote: [10, 0, 0, 1].into(),
            local_port: 1,
            remote_port: 2,
            zone: crate::family::Zone::NONE,
        };
        let isns = Isns { local: SeqNumber::new(5), remote: SeqNumber::new(6) };
        let mut packet = Packet::from_payload(Bytes::from_static(&[0; 36]));
        packet.write_at(12, &[9 << 4]);
        ao.sign(&tuple, isns, SeqNumber::new(seq), &packet, 24)
    };
    // RFC 5925 §6.2: the same number, 2^32 later, has another signature; a little before it has not.
    let mut ao = Ao::new(vec![key]).expect("a key");
    let first = sign(&mut ao, 0x10);
    for seq in [0x7000_0000, 0xe000_0000, 0x20] {
        sign(&mut ao, seq);
    }
    assert_ne!(sign(&mut ao, 0x10), first);
    let late = sign(&mut ao, 0xffff_fff0);
    let mut fresh = Ao::new(vec![AoKey::new([10, 0, 0, 1].into(), 1, b"key")]).expect("a key");
    assert_eq!(sign(&mut fresh, 0xffff_fff0), late);
}

#[test]
fn the_longest_prefix_has_the_key_and_numbers_must_differ() {
    let peer = IpAddr::from([10, 1, 2, 3]);
    let prefix = |bits, key: &[u8]| Md5Key { prefix_bits: bits, ..Md5Key::new(peer, key) };
    let mut keys = AuthKeys::default();
    keys.set_md5(prefix(8, b"wide")).expect("a key");
    keys.set_md5(prefix(24, b"near")).expect("a key");
    let key_for = |keys: &AuthKeys, addr: [u8; 4]| match keys.for_peer(addr.into()) {
        Some(ConnAuth::Md5(key)) => key,
        _ => Vec::new(),
    };
    assert_eq!(key_for(&keys, [10, 1, 2, 9]), b"near");
    assert_eq!(key_for(&keys, [10, 9, 9, 9]), b"wide");
    assert_eq!(key_for(&keys, [11, 1, 2, 3]), b"");
    keys.set_md5(prefix(24, b"new")).expect("in the other's place");
    assert_eq!(key_for(&keys, [10, 1, 2, 9]), b"new");
    keys.set_md5(prefix(24, b"")).expect("it is taken away");
    assert_eq!(key_for(&keys, [10, 1, 2, 9]), b"wide");
    assert_eq!(keys.set_md5(prefix(24, b"")), Err(KeyError::NotFound));
    assert_eq!(keys.set_md5(prefix(33, b"x")), Err(KeyError::Invalid));
    assert_eq!(keys.set_md5(prefix(8, &[0; 81])), Err(KeyError::Invalid));
    assert_eq!(keys.add_ao(AoKey::new(peer, 1, b"x")), Err(KeyError::Invalid), "one kind a peer");
    let mut keys = AuthKeys::default();
    keys.add_ao(AoKey::new(peer, 1, b"x")).expect("a key");
    assert_eq!(keys.add_ao(AoKey::new(peer, 1, b"y")), Err(KeyError::Exists));
    let other = AoKey { receive_id: 1, ..AoKey::new(peer, 2, b"y") };
    assert_eq!(keys.add_ao(other), Err(KeyError::Exists));
    keys.add_ao(AoKey::new([10, 1, 2, 4].into(), 1, b"y")).expect("another peer's");
    assert_eq!(keys.add_ao(AoKey::new(peer, 3, b"")), Err(KeyError::Invalid));
    assert_eq!(keys.remove_ao(&AoKey::new(peer, 9, b"")), Err(KeyError::NotFound));
    keys.remove_ao(&AoKey::new(peer, 1, b"")).expect("it is there");
    assert!(keys.for_peer(peer).is_none());
    for n in 0..63 {
        keys.add_ao(AoKey::new(peer, n, b"x")).expect("a key");
    }
    assert_eq!(keys.add_ao(AoKey::new(peer, 99, b"x")), Err(KeyError::TooMany));
}

#[test]
fn no_key_shows_in_what_is_printed() {
    let mut keys = AuthKeys::default();
    keys.set_md5(Md5Key::new([10, 0, 0, 1].into(), b"hush")).expect("a key");
    keys.add_ao(AoKey::new([10, 0, 0, 2].into(), 1, b"hush")).expect("a key");
    let shown = format!("{keys:?}");
    assert!(!shown.contains("hush") && !shown.contains("104, 117"), "{shown}");
}
