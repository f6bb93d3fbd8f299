//! The name in a client's certificate.
//!
//! Reads only what rustls has verified already, and of that only the subject's names, of the kinds
//! that count: of the alternative names, else the common name; and when it is over.
//! Whatever it does not understand gives nobody, and nobody is let in by it.

use tokio_util::sync::CancellationToken;

use crate::{config::NameKind, domain::Principal, front::identity::is_name};

/// Somebody who has shown a certificate.
#[derive(Clone, Debug)]
pub(in crate::front) struct Certified {
    pub(in crate::front::identity) who: Principal,
    /// In seconds since 1970.
    pub(in crate::front::identity) until_s: u64,
    /// Cancelled when whoever has signed it does not count any more.
    pub(in crate::front::identity) over: CancellationToken,
}

/// One value in DER: what it is, and its bytes.
#[derive(Clone, Copy)]
struct Value<'a> {
    tag: u8,
    bytes: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const SHORT_TIME: u8 = 0x17;
const LONG_TIME: u8 = 0x18;
/// `[3]` of a certificate: its extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[0]` of a certificate: its version.
const VERSION: u8 = 0xa0;
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// The kinds of texts whose bytes are UTF-8: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// Who the certificate is for by a name of these kinds, and until when, unless it is `over` before.
pub(super) fn read(
    certificate: &[u8],
    kinds: &[NameKind],
    over: &CancellationToken,
) -> Option<Certified> {
    let members = members(certificate)?;
    Some(Certified {
        who: principal(&members, kinds)?,
        until_s: ends(&members)?,
        over: over.clone(),
    })
}

/// When a certificate is over, in seconds since 1970.
pub(super) fn ends_s(certificate: &[u8]) -> Option<u64> {
    ends(&members(certificate)?)
}

/// Serial number, algorithm, issuer, validity, subject and what follows; without the version that
/// may stand before them.
fn members(certificate: &[u8]) -> Option<Vec<Value<'_>>> {
    let (whole, _) = take(certificate)?;
    let (inner, _) = take(whole.of(SEQUENCE)?)?;
    let mut members = values(inner.of(SEQUENCE)?)?;
    members.retain(|member| member.tag != VERSION);
    Some(members)
}

/// By the first kind that it has a name of: a worse one never steps in for one that is no good.
fn principal(members: &[Value<'_>], kinds: &[NameKind]) -> Option<Principal> {
    let (kind, name) = match alternative(members)? {
        Some(names) => {
            let of = |kind: NameKind| names.iter().filter(move |name| Some(name.tag) == tag(kind));
            let kind = kinds.iter().copied().find(|kind| of(*kind).next().is_some())?;
            // Which of several addresses would be meant, nobody could tell.
            let is_one = kind != NameKind::Uri || of(kind).count() == 1;
            (kind, text(of(kind).next().filter(|_| is_one)?.bytes)?)
        }
        None if kinds.contains(&NameKind::Cn) => (NameKind::Cn, common(members)?),
        None => return None,
    };
    Some(Principal::new(&format!("cert:{}:{name}", kind.as_str())))
}

/// Of an alternative name.
fn tag(kind: NameKind) -> Option<u8> {
    match kind {
        NameKind::Uri => Some(0x86),
        NameKind::Dns => Some(0x82),
        NameKind::Email => Some(0x81),
        NameKind::Cn => None,
    }
}

/// The alternative names, if there are any: then no other name counts. None if that cannot be told.
fn alternative<'a>(members: &[Value<'a>]) -> Option<Option<Vec<Value<'a>>>> {
    let Some(extensions) = members.iter().find(|member| member.tag == EXTENSIONS) else {
        return Some(None);
    };
    let (list, _) = take(extensions.bytes)?;
    for extension in values(list.of(SEQUENCE)?)? {
        let parts = values(extension.of(SEQUENCE)?)?;
        let is_it = |part: &Value<'_>| part.tag == OBJECT_ID && part.bytes == ALTERNATIVE_NAMES;
        if parts.first().is_some_and(is_it) {
            let (names, _) = take(parts.last()?.of(OCTETS)?)?;
            return values(names.of(SEQUENCE)?).map(Some);
        }
    }
    Some(None)
}

/// The last common name of the subject, which is the most specific one.
fn common<'a>(members: &[Value<'a>]) -> Option<&'a str> {
    let subject = members.get(4)?;
    let mut found = None;
    for set in values(subject.of(SEQUENCE)?)? {
        for pair in values(set.of(SET)?)? {
            if let [of, name] = values(pair.of(SEQUENCE)?)?.as_slice()
                && of.bytes == COMMON_NAME
            {
                found = text(name.bytes).filter(|_| TEXTS.contains(&name.tag));
            }
        }
    }
    found
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| is_name(text))
}

fn ends(members: &[Value<'_>]) -> Option<u64> {
    let validity = values(members.get(3)?.of(SEQUENCE)?)?;
    let end = validity.get(1)?;
    let text = std::str::from_utf8(end.bytes).ok()?;
    match end.tag {
        // Two digits of a year: RFC 5280 has them from 1950 to 2049.
        SHORT_TIME => seconds(if text < "50" { "20" } else { "19" }, text),
        LONG_TIME => seconds("", text),
        _ => None,
    }
}

/// Of `YYYYMMDDhhmmssZ`, in two pieces.
fn seconds(century: &str, text: &str) -> Option<u64> {
    let digits = format!("{century}{}", text.strip_suffix('Z')?);
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: std::ops::Range<usize>| digits.get(at)?.parse::<u64>().ok();
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let days = days_to(year, month, day)?;
    Some(((days * 24 + part(8..10)?) * 60 + part(10..12)?) * 60 + part(12..14)?)
}

/// Days since 1970, after Howard Hinnant's `days_from_civil`. What was over by then is no date.
fn days_to(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that a leap day is their last.
    let year = if month < 3 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

impl<'a> Value<'a> {
    fn of(self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.bytes)
    }
}

/// All values that stand one after the other.
fn values(mut bytes: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (value, rest) = take(bytes)?;
        all.push(value);
        bytes = rest;
    }
    Some(all)
}

fn take(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (short, mut rest) = rest.split_first()?;
    let mut length = usize::from(*short);
    if length >= 0x80 {
        let n_bytes = length - 0x80;
        if n_bytes == 0 || n_bytes > 3 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(n_bytes)?;
        length = digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit));
        rest = after;
    }
    let (inner, after) = rest.split_at_checked(length)?;
    Some((Value { tag: *tag, bytes: inner }, after))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType, string::BmpString,
    };

    use super::{CancellationToken, Certified, NameKind, seconds};

    fn read(certificate: &[u8]) -> Option<Certified> {
        super::read(certificate, &NameKind::ALL, &CancellationToken::new())
    }

    fn certificate(names: Vec<SanType>, common: Option<impl Into<DnValue>>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name = DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::OrganizationName, "Example");
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[track_caller]
    fn check(names: Vec<SanType>, common: Option<&str>, want: Option<&str>) {
        let read = read(&certificate(names, common));
        assert_eq!(read.as_ref().map(|one| one.who.as_str()), want);
    }

    #[test]
    fn the_name_is_the_first_uri_or_else_dns_or_email_or_else_the_common_name() {
        let uri = || SanType::URI("spiffe://mesh/agent".try_into().unwrap());
        let dns = || SanType::DnsName("agent.example".try_into().unwrap());
        let email = || SanType::Rfc822Name("ann@example.org".try_into().unwrap());
        let ip = || SanType::IpAddress([127, 0, 0, 1].into());
        check(vec![dns(), email(), uri()], Some("ann"), Some("cert:uri:spiffe://mesh/agent"));
        check(vec![email(), dns()], None, Some("cert:dns:agent.example"));
        // Nobody could tell which of two is meant, and a worse name does not step in.
        check(vec![uri(), uri()], None, None);
        let blank = SanType::URI("spiffe://mesh/\na".try_into().unwrap());
        check(vec![blank, dns()], Some("ann"), None);
        check(vec![email()], None, Some("cert:email:ann@example.org"));
        check(vec![], Some("ann"), Some("cert:cn:ann"));
        // Where there are other names, the common name does not count.
        check(vec![ip()], Some("ann"), None);
        check(vec![], None, None);
        check(vec![], Some("two\nlines"), None);
        check(vec![], Some(&"x".repeat(257)), None);
    }

    #[test]
    fn a_kind_of_name_that_does_not_count_names_nobody_and_the_order_is_the_operators() {
        use NameKind::{Cn, Dns, Email, Uri};
        let uri = || SanType::URI("spiffe://mesh/agent".try_into().unwrap());
        let dns = || SanType::DnsName("agent.example".try_into().unwrap());
        let both = certificate(vec![uri(), dns()], Some("ann"));
        let (plain, one) =
            (certificate(vec![], Some("ann")), certificate(vec![dns()], Some("ann")));
        for (certificate, kinds, want) in [
            (&both, &[Uri, Dns][..], Some("cert:uri:spiffe://mesh/agent")),
            (&both, &[Dns, Uri], Some("cert:dns:agent.example")),
            (&both, &[Dns], Some("cert:dns:agent.example")),
            (&both, &[Email, Cn], None),
            (&one, &[Uri], None),
            (&one, &[Uri, Cn], None),
            (&plain, &[Cn], Some("cert:cn:ann")),
            (&plain, &[Uri, Dns, Email], None),
        ] {
            let read = super::read(certificate, kinds, &CancellationToken::new());
            assert_eq!(read.as_ref().map(|one| one.who.as_str()), want, "{kinds:?}");
        }
    }

    /// Its bytes are UTF-16: read as UTF-8 they would be another name, if one at all.
    #[test]
    fn a_common_name_in_another_alphabet_names_nobody() {
        let wide = |name: &str| DnValue::BmpString(BmpString::try_from(name).unwrap());
        assert!(read(&certificate(vec![], Some(wide("ann")))).is_none());
        // Two letters that together are the bytes of four others.
        assert!(read(&certificate(vec![], Some(wide("\u{616e}\u{6e61}")))).is_none());
        assert!(read(&certificate(vec![], Some("ann"))).is_some());
    }

    #[test]
    fn when_it_is_over_is_read_from_both_forms_of_time() {
        for (century, text, want) in [
            ("19", "700101000000Z", Some(0)),
            ("", "20000229235959Z", Some(951_868_799)),
            ("", "20000301000000Z", Some(951_868_800)),
            ("20", "491231235959Z", Some(2_524_607_999)),
            ("", "99991231235959Z", Some(253_402_300_799)),
            ("", "20001301000000Z", None),
            ("", "2000030100000Z", None),
            ("", "20000301000000", None),
            ("", "2000030100000+Z", None),
        ] {
            assert_eq!(seconds(century, text), want, "{century}{text}");
        }
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2049, 12, 31);
        params.distinguished_name.push(DnType::CommonName, "ann");
        let one = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(read(one.der()).unwrap().until_s, 2_524_521_600);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let one = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(read(one.der()).unwrap().until_s, 2_556_144_000);
    }

    #[test]
    fn what_is_cut_off_or_changed_never_panics() {
        let whole = certificate(vec![], Some("ann"));
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_none());
            let mut changed = whole.clone();
            changed[end] ^= 0xff;
            // Who it names does not matter: rustls has looked at its signature.
            drop(read(&changed));
        }
    }
}
