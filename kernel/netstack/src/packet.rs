//! IP, UDP, ICMP and ARP packets as bytes.
//!
//! Sources: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 768 (UDP), RFC 792 and 4443 (ICMP), RFC 4861 (neighbour discovery), RFC
//! 826 (ARP), RFC 1071 (checksum). Parsing checks every length and checksum; what it gives is inside the packet.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub type Mac = [u8; 6];

/// Bytes of an Ethernet header. Packets that are built have this much room in front.
pub const ETHERNET: usize = 14;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// The broadcast hardware address.
pub const BROADCAST: Mac = [0xff; 6];

/// ICMP.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMPv6.
pub const ICMPV6: u8 = 58;

/// Adds bytes to a ones' complement sum; all pieces but the last have even length.
pub fn sum(start: u64, data: &[u8]) -> u64 {
    let mut total = start;
    let mut blocks = data.chunks_exact(16);
    for b in &mut blocks {
        if let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *b {
            total += u64::from(u32::from_be_bytes([a, b, c, d]))
                + u64::from(u32::from_be_bytes([e, f, g, h]))
                + u64::from(u32::from_be_bytes([i, j, k, l]))
                + u64::from(u32::from_be_bytes([m, n, o, p]));
        }
    }
    let mut words = blocks.remainder().chunks_exact(4);
    for w in &mut words {
        if let [a, b, c, d] = *w {
            total += u64::from(u32::from_be_bytes([a, b, c, d]));
        }
    }
    match *words.remainder() {
        [a] => total += u64::from(u16::from_be_bytes([a, 0])),
        [a, b] => total += u64::from(u16::from_be_bytes([a, b])),
        [a, b, c] => total += u64::from(u16::from_be_bytes([a, b])) + u64::from(u16::from_be_bytes([c, 0])),
        _ => {}
    }
    total
}

/// The checksum that a sum leads to.
pub fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

/// The sum over a pseudo header.
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u64 {
    let mut total = len as u64 + u64::from(protocol);
    for a in [src, dst] {
        total = match a {
            IpAddr::V4(a) => sum(total, &a.octets()),
            IpAddr::V6(a) => sum(total, &a.octets()),
        };
    }
    total
}

fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

fn put(b: &mut [u8], at: usize, data: &[u8]) {
    if let Some(to) = b.get_mut(at..at + data.len()) {
        to.copy_from_slice(data);
    }
}

/// Which piece of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What the pieces of one datagram share.
    pub id: u32,
    /// Where the piece goes, in bytes.
    pub offset: usize,
    /// Whether pieces follow.
    pub more: bool,
}

/// An IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// TOS or traffic class; ECN is in the low two bits.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Bytes before the payload, extension headers included.
    pub header_len: usize,
    /// Bytes of header and payload.
    pub total_len: usize,
    /// Set for a piece of a datagram.
    pub fragment: Option<Fragment>,
}

/// Reads an IP packet; gives the header and the payload. `None` for damaged packets.
pub fn parse_ip(data: &[u8]) -> Option<(IpHeader, &[u8])> {
    let header = match data.first()? >> 4 {
        4 => parse_ipv4(data)?,
        6 => parse_ipv6(data)?,
        _ => return None,
    };
    let payload = data.get(header.header_len..header.total_len)?;
    Some((header, payload))
}

fn parse_ipv4(data: &[u8]) -> Option<IpHeader> {
    let header_len = usize::from(data.first()? & 15) * 4;
    let total_len = usize::from(be16(data, 2)?);
    let header = data.get(..header_len)?;
    if header_len < 20 || total_len < header_len || total_len > data.len() || fold(sum(0, header)) != 0 {
        return None;
    }
    let flags = be16(data, 6)?;
    let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
    let fragment = (more || offset != 0).then_some(Fragment {
        id: u32::from(be16(data, 4)?),
        offset,
        more,
    });
    let src: [u8; 4] = data.get(12..16)?.try_into().ok()?;
    let dst: [u8; 4] = data.get(16..20)?.try_into().ok()?;
    Some(IpHeader {
        src: Ipv4Addr::from(src).into(),
        dst: Ipv4Addr::from(dst).into(),
        protocol: *data.get(9)?,
        tos: *data.get(1)?,
        ttl: *data.get(8)?,
        header_len,
        total_len,
        fragment,
    })
}

fn parse_ipv6(data: &[u8]) -> Option<IpHeader> {
    let total_len = 40 + usize::from(be16(data, 4)?);
    if total_len > data.len() {
        return None;
    }
    let src: [u8; 16] = data.get(8..24)?.try_into().ok()?;
    let dst: [u8; 16] = data.get(24..40)?.try_into().ok()?;
    let mut protocol = *data.get(6)?;
    let mut at = 40;
    let mut fragment = None;
    // Hop-by-hop, routing, destination options and fragment headers; a bounded chain.
    for _ in 0..8 {
        match protocol {
            0 | 43 | 60 => {
                let len = (usize::from(*data.get(at + 1)?) + 1) * 8;
                protocol = *data.get(at)?;
                at += len;
            }
            44 => {
                let o = be16(data, at + 2)?;
                fragment = Some(Fragment {
                    id: be32(data, at + 4)?,
                    offset: usize::from(o & 0xfff8),
                    more: o & 1 != 0,
                });
                protocol = *data.get(at)?;
                at += 8;
                break;
            }
            _ => break,
        }
    }
    if at > total_len {
        return None;
    }
    Some(IpHeader {
        src: Ipv6Addr::from(src).into(),
        dst: Ipv6Addr::from(dst).into(),
        protocol,
        tos: (be16(data, 0)? >> 4) as u8,
        ttl: *data.get(7)?,
        header_len: at,
        total_len,
        fragment,
    })
}

/// What an outgoing packet's IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpOut {
    /// Source; of the same family as `dst`.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether routers may cut the packet (IPv4).
    pub dont_fragment: bool,
    /// Identification (IPv4).
    pub id: u16,
}

impl IpOut {
    /// Bytes of the header.
    pub fn header_len(&self) -> usize {
        if self.dst.is_ipv4() { 20 } else { 40 }
    }

    /// A frame with room for the Ethernet header, the IP header, and a payload of zeros.
    fn frame(&self, payload: usize, fragment: Option<Fragment>) -> Vec<u8> {
        let header = self.header_len();
        let mut frame = vec![0; ETHERNET + header + payload];
        if let Some(ip) = frame.get_mut(ETHERNET..) {
            self.write_header(ip, payload, fragment);
        }
        frame
    }

    fn write_header(&self, ip: &mut [u8], payload: usize, fragment: Option<Fragment>) {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let flags = match fragment {
                    Some(f) => (u16::from(f.more) << 13) | (f.offset / 8) as u16,
                    None => u16::from(self.dont_fragment) << 14,
                };
                put(ip, 0, &[0x45, self.tos]);
                put(ip, 2, &((20 + payload) as u16).to_be_bytes());
                put(ip, 4, &self.id.to_be_bytes());
                put(ip, 6, &flags.to_be_bytes());
                put(ip, 8, &[self.ttl, self.protocol, 0, 0]);
                put(ip, 12, &src.octets());
                put(ip, 16, &dst.octets());
                let check = fold(sum(0, ip.get(..20).unwrap_or_default()));
                put(ip, 10, &check.to_be_bytes());
            }
            (src, dst) => {
                put(ip, 0, &(0x6000_0000u32 | (u32::from(self.tos) << 20)).to_be_bytes());
                put(ip, 4, &(payload as u16).to_be_bytes());
                put(ip, 6, &[self.protocol, self.ttl]);
                put(ip, 8, &octets16(src));
                put(ip, 24, &octets16(dst));
            }
        }
    }

    /// A packet around `payload`, ready for its Ethernet header.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = self.frame(payload.len(), None);
        put(&mut frame, ETHERNET + self.header_len(), payload);
        frame
    }

    /// A UDP datagram, ready for its Ethernet header. `data` is at most 65,507 bytes.
    pub fn udp(&self, src_port: u16, dst_port: u16, data: &[u8]) -> Vec<u8> {
        let at = ETHERNET + self.header_len();
        let mut frame = self.frame(8 + data.len(), None);
        put(&mut frame, at, &src_port.to_be_bytes());
        put(&mut frame, at + 2, &dst_port.to_be_bytes());
        put(&mut frame, at + 4, &((8 + data.len()) as u16).to_be_bytes());
        put(&mut frame, at + 8, data);
        let udp = frame.get(at..).unwrap_or_default();
        let check = fold(sum(pseudo_header(self.src, self.dst, UDP, udp.len()), udp));
        put(
            &mut frame,
            at + 6,
            &(if check == 0 { 0xffff } else { check }).to_be_bytes(),
        );
        frame
    }

    /// An ICMPv6 message with its checksum set.
    pub fn icmpv6(&self, message: &[u8]) -> Vec<u8> {
        let at = ETHERNET + self.header_len();
        let mut frame = self.packet(message);
        put(&mut frame, at + 2, &[0, 0]);
        let body = frame.get(at..).unwrap_or_default();
        let check = fold(sum(pseudo_header(self.src, self.dst, ICMPV6, body.len()), body));
        put(&mut frame, at + 2, &check.to_be_bytes());
        frame
    }

    /// Cuts a frame made by this header's builders into fragments that fit `mtu`; the frame itself when it fits already.
    /// IPv6 fragments carry a fragment header with `id`.
    pub fn fragments(&self, frame: Vec<u8>, mtu: usize) -> Vec<Vec<u8>> {
        if frame.len() <= ETHERNET + mtu {
            return vec![frame];
        }
        let header = self.header_len();
        let extra = if self.dst.is_ipv4() { 0 } else { 8 };
        let payload = frame.get(ETHERNET + header..).unwrap_or_default();
        let most = mtu.saturating_sub(header + extra) & !7;
        if most == 0 {
            return Vec::new();
        }
        let count = payload.len().div_ceil(most);
        let mut out = Vec::with_capacity(count);
        for (i, piece) in payload.chunks(most).enumerate() {
            let f = Fragment {
                id: u32::from(self.id),
                offset: i * most,
                more: i + 1 < count,
            };
            if extra == 0 {
                let mut one = self.frame(piece.len(), Some(f));
                put(&mut one, ETHERNET + header, piece);
                out.push(one);
            } else {
                let outer = Self { protocol: 44, ..*self };
                let mut one = outer.frame(8 + piece.len(), None);
                put(&mut one, ETHERNET + header, &[self.protocol, 0]);
                put(
                    &mut one,
                    ETHERNET + header + 2,
                    &((f.offset as u16) | u16::from(f.more)).to_be_bytes(),
                );
                put(&mut one, ETHERNET + header + 4, &f.id.to_be_bytes());
                put(&mut one, ETHERNET + header + 8, piece);
                out.push(one);
            }
        }
        out
    }
}

fn octets16(a: IpAddr) -> [u8; 16] {
    match a {
        IpAddr::V6(a) => a.octets(),
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
    }
}

/// Writes the Ethernet header in front of a built packet.
pub fn set_ethernet(frame: &mut [u8], dst: Mac, src: Mac, ethertype: u16) {
    put(frame, 0, &dst);
    put(frame, 6, &src);
    put(frame, 12, &ethertype.to_be_bytes());
}

/// Sets TOS or traffic class of a built packet.
pub fn set_tos(frame: &mut [u8], tos: u8) {
    let Some(ip) = frame.get_mut(ETHERNET..) else { return };
    match ip.first().map(|b| b >> 4) {
        Some(4) => {
            put(ip, 1, &[tos]);
            put(ip, 10, &[0, 0]);
            let check = fold(sum(0, ip.get(..20).unwrap_or_default()));
            put(ip, 10, &check.to_be_bytes());
        }
        Some(6) => {
            if let Some([a, b, ..]) = ip.get_mut(..2) {
                *a = 0x60 | (tos >> 4);
                *b = (tos << 4) | (*b & 15);
            }
        }
        _ => {}
    }
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// The data.
    pub data: &'a [u8],
}

/// Reads a UDP datagram and checks its checksum.
pub fn parse_udp<'a>(ip: &IpHeader, payload: &'a [u8]) -> Option<Udp<'a>> {
    let len = usize::from(be16(payload, 4)?);
    let whole = payload.get(..len).filter(|w| w.len() >= 8)?;
    let check = be16(payload, 6)?;
    // No checksum is allowed over IPv4 only.
    if check == 0 {
        if ip.dst.is_ipv6() {
            return None;
        }
    } else if fold(sum(pseudo_header(ip.src, ip.dst, UDP, len), whole)) != 0 {
        return None;
    }
    Some(Udp {
        src_port: be16(payload, 0)?,
        dst_port: be16(payload, 2)?,
        data: whole.get(8..)?,
    })
}

/// The ports of a TCP or UDP header, of which at least 4 bytes are there.
pub fn ports(payload: &[u8]) -> Option<(u16, u16)> {
    Some((be16(payload, 0)?, be16(payload, 2)?))
}

/// Flags of a TCP header.
pub mod tcp_flags {
    /// No more data.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 16;
}

/// The flags of a TCP segment.
pub fn tcp_flag_bits(segment: &[u8]) -> Option<u8> {
    segment.get(13).copied()
}

/// The RST that answers a segment nobody wants (RFC 9293, 3.10.7.1); `None` for one that is not answered.
pub fn tcp_reset(ip: &IpHeader, segment: &[u8]) -> Option<Vec<u8>> {
    let flags = *segment.get(13)?;
    let data_at = usize::from(*segment.get(12)? >> 4) * 4;
    if flags & tcp_flags::RST != 0 || data_at < 20 || data_at > segment.len() {
        return None;
    }
    if fold(sum(pseudo_header(ip.src, ip.dst, TCP, segment.len()), segment)) != 0 {
        return None;
    }
    let (seq, ack) = (be32(segment, 4)?, be32(segment, 8)?);
    let used = (segment.len() - data_at) as u32
        + u32::from(flags & tcp_flags::SYN != 0)
        + u32::from(flags & tcp_flags::FIN != 0);
    let mut out = [0u8; 20];
    put(&mut out, 0, &be16(segment, 2)?.to_be_bytes());
    put(&mut out, 2, &be16(segment, 0)?.to_be_bytes());
    if flags & tcp_flags::ACK != 0 {
        put(&mut out, 4, &ack.to_be_bytes());
        put(&mut out, 12, &[5 << 4, tcp_flags::RST]);
    } else {
        put(&mut out, 8, &seq.wrapping_add(used).to_be_bytes());
        put(&mut out, 12, &[5 << 4, tcp_flags::RST | tcp_flags::ACK]);
    }
    let check = fold(sum(pseudo_header(ip.dst, ip.src, TCP, out.len()), &out));
    put(&mut out, 16, &check.to_be_bytes());
    let head = IpOut {
        src: ip.dst,
        dst: ip.src,
        protocol: TCP,
        tos: 0,
        ttl: 64,
        dont_fragment: true,
        id: 0,
    };
    Some(head.packet(&out))
}

/// Whether a TCP segment's checksum holds.
pub fn tcp_is_sound(ip: &IpHeader, segment: &[u8]) -> bool {
    segment.len() >= 20 && fold(sum(pseudo_header(ip.src, ip.dst, TCP, segment.len()), segment)) == 0
}

/// Whether an ICMP (IPv4) message's checksum holds.
pub fn icmp_is_sound(message: &[u8]) -> bool {
    message.len() >= 8 && fold(sum(0, message)) == 0
}

/// Whether an ICMPv6 message's checksum holds.
pub fn icmpv6_is_sound(ip: &IpHeader, message: &[u8]) -> bool {
    message.len() >= 4 && fold(sum(pseudo_header(ip.src, ip.dst, ICMPV6, message.len()), message)) == 0
}

/// An ICMP (IPv4) message with its checksum set: type, code, the second word, and data.
pub fn icmp(kind: u8, code: u8, second: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + data.len());
    out.extend_from_slice(&[kind, code, 0, 0]);
    out.extend_from_slice(&second);
    out.extend_from_slice(data);
    let check = fold(sum(0, &out));
    put(&mut out, 2, &check.to_be_bytes());
    out
}

/// The "destination unreachable" answer to a packet (`ip` is the whole packet), cut as RFC 1812 and 4443 say.
/// `code` is the IPv4 code; port unreachable (3) becomes its IPv6 twin.
pub fn unreachable(header: &IpHeader, ip: &[u8], code: u8, src: IpAddr) -> Option<Vec<u8>> {
    let dst = header.src;
    let head = IpOut {
        src,
        dst,
        protocol: ICMP,
        tos: 0,
        ttl: 64,
        dont_fragment: false,
        id: 0,
    };
    match (src, dst) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let quote = ip.get(..header.total_len.min(ip.len()).min(548))?;
            Some(head.packet(&icmp(3, code, [0; 4], quote)))
        }
        (IpAddr::V6(_), IpAddr::V6(_)) => {
            let quote = ip.get(..header.total_len.min(ip.len()).min(1232))?;
            let mut message = vec![1, if code == 3 { 4 } else { 0 }, 0, 0, 0, 0, 0, 0];
            message.extend_from_slice(quote);
            Some(
                IpOut {
                    protocol: ICMPV6,
                    ..head
                }
                .icmpv6(&message),
            )
        }
        _ => None,
    }
}

/// An ARP packet (Ethernet, IPv4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// A request (else a reply).
    pub is_request: bool,
    /// Sender's hardware address.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender: Ipv4Addr,
    /// Target's hardware address.
    pub target_mac: Mac,
    /// Target's address.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads an ARP packet.
    pub fn parse(b: &[u8]) -> Option<Self> {
        if b.get(..6)? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let is_request = match be16(b, 6)? {
            1 => true,
            2 => false,
            _ => return None,
        };
        let sender: [u8; 4] = b.get(14..18)?.try_into().ok()?;
        let target: [u8; 4] = b.get(24..28)?.try_into().ok()?;
        Some(Self {
            is_request,
            sender_mac: b.get(8..14)?.try_into().ok()?,
            sender: sender.into(),
            target_mac: b.get(18..24)?.try_into().ok()?,
            target: target.into(),
        })
    }

    /// A whole frame.
    pub fn frame(&self, dst: Mac) -> Vec<u8> {
        let mut f = vec![0; ETHERNET + 28];
        set_ethernet(&mut f, dst, self.sender_mac, ETHERTYPE_ARP);
        put(
            &mut f,
            ETHERNET,
            &[0, 1, 8, 0, 6, 4, 0, if self.is_request { 1 } else { 2 }],
        );
        put(&mut f, ETHERNET + 8, &self.sender_mac);
        put(&mut f, ETHERNET + 14, &self.sender.octets());
        put(&mut f, ETHERNET + 18, &self.target_mac);
        put(&mut f, ETHERNET + 24, &self.target.octets());
        f
    }
}

/// A message of IPv6 neighbour discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ndp {
    /// "Who has `target`?"
    Solicit {
        /// The address asked for.
        target: Ipv6Addr,
        /// Sender's hardware address, if it says.
        mac: Option<Mac>,
    },
    /// "I have `target`."
    Advert {
        /// The address.
        target: Ipv6Addr,
        /// Its hardware address, if it says.
        mac: Option<Mac>,
        /// Whether a known hardware address is to be replaced.
        overrides: bool,
    },
    /// A router speaks.
    Router {
        /// Seconds it may be used as a default router; 0: not.
        lifetime_s: u16,
        /// Its hardware address, if it says.
        mac: Option<Mac>,
        /// The first prefix for addresses of our own (autonomous, on link): prefix, length, valid seconds.
        prefix: Option<(Ipv6Addr, u8, u32)>,
    },
}

impl Ndp {
    /// Reads an ICMPv6 message whose checksum holds; `hop_limit` must be 255, so it comes from this link.
    pub fn parse(hop_limit: u8, m: &[u8]) -> Option<Self> {
        if hop_limit != 255 || *m.get(1)? != 0 {
            return None;
        }
        match *m.first()? {
            135 => Some(Self::Solicit {
                target: ip6(m, 8)?,
                mac: option(m, 24, 1).and_then(mac_of),
            }),
            136 => Some(Self::Advert {
                target: ip6(m, 8)?,
                mac: option(m, 24, 2).and_then(mac_of),
                overrides: m.get(4)? & 0x20 != 0,
            }),
            134 => {
                let prefix = option(m, 16, 3).and_then(|o| {
                    // On link and autonomous, 64 bits, valid.
                    let valid_s = be32(o, 4)?;
                    (o.get(3)? & 0xc0 == 0xc0 && *o.get(2)? == 64 && valid_s > 0).then_some(())?;
                    Some((ip6(o, 16)?, 64, valid_s))
                });
                Some(Self::Router {
                    lifetime_s: be16(m, 6)?,
                    mac: option(m, 16, 1).and_then(mac_of),
                    prefix,
                })
            }
            _ => None,
        }
    }

    /// A neighbour solicitation for `target` from `src` (unspecified: duplicate detection), whole frame.
    pub fn solicit(src: Ipv6Addr, target: Ipv6Addr, mac: Mac) -> Vec<u8> {
        let dst = solicited_node(target);
        let mut m = vec![135, 0, 0, 0, 0, 0, 0, 0];
        m.extend_from_slice(&target.octets());
        if !src.is_unspecified() {
            m.extend_from_slice(&[1, 1]);
            m.extend_from_slice(&mac);
        }
        ndp_frame(src, dst, mac, multicast_mac(dst), &m)
    }

    /// The answer to a solicitation, whole frame.
    pub fn advert(target: Ipv6Addr, to: Ipv6Addr, to_mac: Mac, mac: Mac) -> Vec<u8> {
        // Solicited and override.
        let mut m = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        m.extend_from_slice(&target.octets());
        m.extend_from_slice(&[2, 1]);
        m.extend_from_slice(&mac);
        ndp_frame(target, to, mac, to_mac, &m)
    }

    /// A router solicitation, whole frame.
    pub fn router_solicit(src: Ipv6Addr, mac: Mac) -> Vec<u8> {
        let dst = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        let mut m = vec![133, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        m.extend_from_slice(&mac);
        ndp_frame(src, dst, mac, multicast_mac(dst), &m)
    }
}

fn ndp_frame(src: Ipv6Addr, dst: Ipv6Addr, mac: Mac, to: Mac, message: &[u8]) -> Vec<u8> {
    let head = IpOut {
        src: src.into(),
        dst: dst.into(),
        protocol: ICMPV6,
        tos: 0,
        ttl: 255,
        dont_fragment: true,
        id: 0,
    };
    let mut f = head.icmpv6(message);
    set_ethernet(&mut f, to, mac, ETHERTYPE_IPV6);
    f
}

fn ip6(b: &[u8], at: usize) -> Option<Ipv6Addr> {
    let a: [u8; 16] = b.get(at..at + 16)?.try_into().ok()?;
    Some(a.into())
}

fn mac_of(o: &[u8]) -> Option<Mac> {
    o.get(2..8)?.try_into().ok()
}

/// The first option of a kind, header included.
fn option(m: &[u8], from: usize, kind: u8) -> Option<&[u8]> {
    let mut rest = m.get(from..)?;
    loop {
        let len = usize::from(*rest.get(1)?) * 8;
        if len == 0 {
            return None;
        }
        let one = rest.get(..len)?;
        if *one.first()? == kind {
            return Some(one);
        }
        rest = rest.get(len..)?;
    }
}

/// The multicast group that solicitations for an address go to.
pub fn solicited_node(a: Ipv6Addr) -> Ipv6Addr {
    let [.., x, y, z] = a.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z]))
}

/// The link-local address made from a hardware address (EUI-64).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    with_interface_id(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), mac)
}

/// The address with a /64 prefix and an interface identifier made from a hardware address.
pub fn with_interface_id(prefix: Ipv6Addr, [a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    let mut o = prefix.octets();
    put(&mut o, 8, &[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    o.into()
}

/// The hardware address of a multicast group.
pub fn multicast_mac(group: impl Into<IpAddr>) -> Mac {
    match group.into() {
        IpAddr::V4(a) => {
            let [_, b, c, d] = a.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(a) => {
            let [.., w, x, y, z] = a.octets();
            [0x33, 0x33, w, x, y, z]
        }
    }
}

#[cfg(test)]
mod tests;
