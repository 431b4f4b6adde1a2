//! Sockets: families, types, options, flags, addresses, and the ioctls of interfaces.

use crate::macros::{constants, flags, layout};

constants! { FAMILY_LIST, u16, "socket(2)";
    AF_UNSPEC = 0;
    AF_UNIX = 1;
    AF_INET = 2;
    AF_INET6 = 10;
    AF_NETLINK = 16;
    AF_PACKET = 17;
}

constants! { TYPE_LIST, u32, "socket(2)";
    SOCK_STREAM = 1;
    SOCK_DGRAM = 2;
    SOCK_RAW = 3;
    SOCK_SEQPACKET = 5;
    SOCK_NONBLOCK = 2048;
    SOCK_CLOEXEC = 0x80000;
}

constants! { LEVEL_LIST, u32, "getsockopt(2)";
    SOL_SOCKET = 1;
    SOL_IP = 0;
    SOL_IPV6 = 41;
    SOL_UDP = 17;
    SOL_TCP = 6;
    SOL_NETLINK = 270;
    SOL_PACKET = 263;
    SOL_RAW = 255;
    IPPROTO_IP = 0;
    IPPROTO_ICMP = 1;
    IPPROTO_TCP = 6;
    IPPROTO_UDP = 17;
    IPPROTO_IPV6 = 41;
    IPPROTO_ICMPV6 = 58;
    IPPROTO_RAW = 255;
}

constants! { SOCKET_LIST, u32, "socket(7)";
    SO_DEBUG = 1;
    SO_REUSEADDR = 2;
    SO_TYPE = 3;
    SO_ERROR = 4;
    SO_DONTROUTE = 5;
    SO_BROADCAST = 6;
    SO_SNDBUF = 7;
    SO_RCVBUF = 8;
    SO_KEEPALIVE = 9;
    SO_OOBINLINE = 10;
    SO_NO_CHECK = 11;
    SO_PRIORITY = 12;
    SO_LINGER = 13;
    SO_REUSEPORT = 15;
    SO_PASSCRED = 16;
    SO_PEERCRED = 17;
    SO_RCVLOWAT = 18;
    SO_SNDLOWAT = 19;
    SO_RCVTIMEO = 20;
    SO_SNDTIMEO = 21;
    SO_BINDTODEVICE = 25;
    SO_ATTACH_FILTER = 26;
    SO_DETACH_FILTER = 27;
    SO_PEERNAME = 28;
    SO_TIMESTAMP = 29;
    SO_ACCEPTCONN = 30;
    SO_PEERSEC = 31;
    SO_SNDBUFFORCE = 32;
    SO_RCVBUFFORCE = 33;
    SO_PASSSEC = 34;
    SO_TIMESTAMPNS = 35;
    SO_MARK = 36;
    SO_TIMESTAMPING = 37;
    SO_PROTOCOL = 38;
    SO_DOMAIN = 39;
    SO_RXQ_OVFL = 40;
    SO_PEEK_OFF = 42;
    SO_NOFCS = 43;
    SO_LOCK_FILTER = 44;
    SO_SELECT_ERR_QUEUE = 45;
    SO_BUSY_POLL = 46;
    SO_MAX_PACING_RATE = 47;
    SO_INCOMING_CPU = 49;
    SO_COOKIE = 57;
    SO_ZEROCOPY = 60;
    SO_TXTIME = 61;
    SO_BINDTOIFINDEX = 62;
    SO_PREFER_BUSY_POLL = 69;
}

constants! { SCM_LIST, u32, "cmsg(3)";
    SCM_RIGHTS = 1;
    SCM_CREDENTIALS = 2;
}

constants! { IP_LIST, u32, "ip(7)";
    IP_TOS = 1;
    IP_TTL = 2;
    IP_HDRINCL = 3;
    IP_OPTIONS = 4;
    IP_ROUTER_ALERT = 5;
    IP_RECVOPTS = 6;
    IP_RETOPTS = 7;
    IP_PKTINFO = 8;
    IP_MTU_DISCOVER = 10;
    IP_RECVERR = 11;
    IP_RECVTTL = 12;
    IP_RECVTOS = 13;
    IP_MTU = 14;
    IP_FREEBIND = 15;
    IP_TRANSPARENT = 19;
    IP_RECVORIGDSTADDR = 20;
    IP_MINTTL = 21;
    IP_NODEFRAG = 22;
    IP_CHECKSUM = 23;
    IP_BIND_ADDRESS_NO_PORT = 24;
    IP_RECVFRAGSIZE = 25;
    IP_MULTICAST_IF = 32;
    IP_MULTICAST_TTL = 33;
    IP_MULTICAST_LOOP = 34;
    IP_ADD_MEMBERSHIP = 35;
    IP_DROP_MEMBERSHIP = 36;
    IP_MULTICAST_ALL = 49;
    IP_UNICAST_IF = 50;
    IP_PMTUDISC_DONT = 0;
    IP_PMTUDISC_WANT = 1;
    IP_PMTUDISC_DO = 2;
    IP_PMTUDISC_PROBE = 3;
    IP_PMTUDISC_INTERFACE = 4;
    IP_PMTUDISC_OMIT = 5;
}

constants! { IPV6_LIST, u32, "ipv6(7)";
    IPV6_UNICAST_HOPS = 16;
    IPV6_MULTICAST_IF = 17;
    IPV6_MULTICAST_HOPS = 18;
    IPV6_MULTICAST_LOOP = 19;
    IPV6_JOIN_GROUP = 20;
    IPV6_LEAVE_GROUP = 21;
    IPV6_MTU_DISCOVER = 23;
    IPV6_MTU = 24;
    IPV6_RECVERR = 25;
    IPV6_V6ONLY = 26;
    IPV6_RECVPKTINFO = 49;
    IPV6_PKTINFO = 50;
    IPV6_RECVHOPLIMIT = 51;
    IPV6_HOPLIMIT = 52;
    IPV6_RECVTCLASS = 66;
    IPV6_TCLASS = 67;
    IPV6_DONTFRAG = 62;
    IPV6_FREEBIND = 78;
    IPV6_ADDR_PREFERENCES = 72;
    IPV6_RECVORIGDSTADDR = 74;
}

constants! { TCP_LIST, u32, "tcp(7)";
    TCP_NODELAY = 1;
    TCP_MAXSEG = 2;
    TCP_CORK = 3;
    TCP_KEEPIDLE = 4;
    TCP_KEEPINTVL = 5;
    TCP_KEEPCNT = 6;
    TCP_SYNCNT = 7;
    TCP_LINGER2 = 8;
    TCP_DEFER_ACCEPT = 9;
    TCP_WINDOW_CLAMP = 10;
    TCP_INFO = 11;
    TCP_QUICKACK = 12;
    TCP_CONGESTION = 13;
    TCP_USER_TIMEOUT = 18;
    TCP_FASTOPEN = 23;
    TCP_NOTSENT_LOWAT = 25;
}

constants! { UDP_LIST, u32, "udp(7)";
    UDP_CORK = 1;
    UDP_ENCAP = 100;
    UDP_NO_CHECK6_TX = 101;
    UDP_NO_CHECK6_RX = 102;
    UDP_SEGMENT = 103;
    UDP_GRO = 104;
}

constants! { SIOC_LIST, u32, "netdevice(7)";
    SIOCADDRT = 0x890b;
    SIOCDELRT = 0x890c;
    SIOCGIFNAME = 0x8910;
    SIOCGIFCONF = 0x8912;
    SIOCGIFFLAGS = 0x8913;
    SIOCSIFFLAGS = 0x8914;
    SIOCGIFADDR = 0x8915;
    SIOCSIFADDR = 0x8916;
    SIOCGIFDSTADDR = 0x8917;
    SIOCSIFDSTADDR = 0x8918;
    SIOCGIFBRDADDR = 0x8919;
    SIOCSIFBRDADDR = 0x891a;
    SIOCGIFNETMASK = 0x891b;
    SIOCSIFNETMASK = 0x891c;
    SIOCGIFMETRIC = 0x891d;
    SIOCSIFMETRIC = 0x891e;
    SIOCGIFMTU = 0x8921;
    SIOCSIFMTU = 0x8922;
    SIOCSIFNAME = 0x8923;
    SIOCSIFHWADDR = 0x8924;
    SIOCGIFHWADDR = 0x8927;
    SIOCGIFINDEX = 0x8933;
    SIOCGIFTXQLEN = 0x8942;
    SIOCSIFTXQLEN = 0x8943;
    SIOCDARP = 0x8953;
    SIOCGARP = 0x8954;
    SIOCSARP = 0x8955;
    SIOCGIFMAP = 0x8970;
    SIOCETHTOOL = 0x8946;
    SIOCGSTAMP_OLD = 0x8906;
}

flags! {
    /// send(2), recv(2).
    pub struct MsgFlags: u32, "MSG_" {
        OOB = 0x1;
        PEEK = 0x2;
        DONTROUTE = 0x4;
        CTRUNC = 0x8;
        TRUNC = 0x20;
        DONTWAIT = 0x40;
        EOR = 0x80;
        WAITALL = 0x100;
        FIN = 0x200;
        SYN = 0x400;
        CONFIRM = 0x800;
        RST = 0x1000;
        ERRQUEUE = 0x2000;
        NOSIGNAL = 0x4000;
        MORE = 0x8000;
        WAITFORONE = 0x1_0000;
        ZEROCOPY = 0x400_0000;
        FASTOPEN = 0x2000_0000;
        CMSG_CLOEXEC = 0x4000_0000;
    }
}

flags! {
    /// The flags of an interface, netdevice(7).
    pub struct InterfaceFlags: u32, "IFF_" {
        UP = 0x1;
        BROADCAST = 0x2;
        DEBUG = 0x4;
        LOOPBACK = 0x8;
        POINTOPOINT = 0x10;
        NOTRAILERS = 0x20;
        RUNNING = 0x40;
        NOARP = 0x80;
        PROMISC = 0x100;
        ALLMULTI = 0x200;
        MASTER = 0x400;
        SLAVE = 0x800;
        MULTICAST = 0x1000;
        PORTSEL = 0x2000;
        AUTOMEDIA = 0x4000;
        DYNAMIC = 0x8000;
    }
}

constants! { SHUTDOWN_LIST, u32, "shutdown(2)";
    SHUT_RD = 0;
    SHUT_WR = 1;
    SHUT_RDWR = 2;
}

layout! {
    /// An IPv4 address and port, ip(7). Address and port are in network order.
    pub struct SockaddrIn = "struct sockaddr_in", 16 {
        /// `AF_INET`.
        sin_family: u16 = 0,
        /// The port.
        sin_port: [u8; 2] = 2,
        /// The address.
        sin_addr: [u8; 4] = 4,
    }
}

layout! {
    /// An IPv6 address and port, ipv6(7). Address, port and flow are in network order.
    pub struct SockaddrIn6 = "struct sockaddr_in6", 28 {
        /// `AF_INET6`.
        sin6_family: u16 = 0,
        /// The port.
        sin6_port: [u8; 2] = 2,
        /// The flow label.
        sin6_flowinfo: [u8; 4] = 4,
        /// The address.
        sin6_addr: [u8; 16] = 8,
        /// The interface of a link-local address.
        sin6_scope_id: u32 = 24,
    }
}

layout! {
    /// A path or an abstract name, unix(7). Programs pass it cut to its length.
    pub struct SockaddrUn = "struct sockaddr_un", 110 {
        /// `AF_UNIX`.
        sun_family: u16 = 0,
        /// The path; a NUL first for an abstract name.
        sun_path: [u8; 108] = 2,
    }
}

layout! {
    /// The message of sendmsg(2).
    pub struct Msghdr = "struct msghdr", 56 {
        /// The address.
        msg_name: u64 = 0,
        /// Its length.
        msg_namelen: u32 = 8,
        /// The pieces of data, [`Iovec`](crate::fs::Iovec).
        msg_iov: u64 = 16,
        /// How many.
        msg_iovlen: u64 = 24,
        /// The control messages.
        msg_control: u64 = 32,
        /// Their length in bytes.
        msg_controllen: u64 = 40,
        /// What recvmsg(2) answers: [`MsgFlags`].
        msg_flags: u32 = 48,
    }
}

layout! {
    /// One message of sendmmsg(2).
    pub struct Mmsghdr = "struct mmsghdr", 64 {
        /// The message.
        msg_hdr: Msghdr = 0,
        /// How many bytes were sent or received.
        msg_len: u32 = 56,
    }
}

layout! {
    /// The header of a control message, cmsg(3).
    pub struct Cmsghdr = "struct cmsghdr", 16 {
        /// The length in bytes with the header, without padding.
        cmsg_len: u64 = 0,
        /// A `SOL_` level.
        cmsg_level: u32 = 8,
        /// The type within the level.
        cmsg_type: u32 = 12,
    }
}

layout! {
    /// Who is at the other end, unix(7).
    pub struct Ucred = "struct ucred", 12 {
        /// The process.
        pid: i32 = 0,
        /// Its user.
        uid: u32 = 4,
        /// Its group.
        gid: u32 = 8,
    }
}

layout! {
    /// `IP_PKTINFO`, ip(7).
    pub struct InPktinfo = "struct in_pktinfo", 12 {
        /// The interface.
        ipi_ifindex: i32 = 0,
        /// The local address.
        ipi_spec_dst: [u8; 4] = 4,
        /// The address in the header.
        ipi_addr: [u8; 4] = 8,
    }
}

layout! {
    /// `IPV6_PKTINFO`, ipv6(7).
    pub struct In6Pktinfo = "struct in6_pktinfo", 20 {
        /// The address.
        ipi6_addr: [u8; 16] = 0,
        /// The interface.
        ipi6_ifindex: u32 = 16,
    }
}

layout! {
    /// `SO_LINGER`, socket(7).
    pub struct Linger = "struct linger", 8 {
        /// Whether close(2) waits.
        l_onoff: i32 = 0,
        /// How long, in seconds.
        l_linger: i32 = 4,
    }
}
