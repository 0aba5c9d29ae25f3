//! Who a client is, and what a list lets it do: the schemes world, auth, digest, ip and super,
//! with ZooKeeper's checks in ZooKeeper's order.

use crate::error::ErrorCode;
use crate::jute::records;
use crate::limits::Settings;
use crate::op::perms::READ;
use crate::tree::acl::{AclEntry, AclList};
use base64::Engine;
use sha1::{Digest, Sha1};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// One thing that a client has proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthId {
    /// Authentication scheme.
    pub scheme: Box<str>,
    /// Who, in the scheme's terms.
    pub id: Box<str>,
}

/// All that a client has proved; every connection starts with its address.
pub type AuthInfo = Arc<[AuthId]>;

/// What a connection from `address` has proved by connecting.
pub fn from_address(address: IpAddr) -> AuthInfo {
    Arc::new([AuthId { scheme: "ip".into(), id: java_address(address).into() }])
}

/// An address as Java prints it: IPv6 in full, without `::`, but for the IPv4 address that an IPv6
/// socket shows as one of IPv6.
fn java_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let segments: Vec<String> = v6.segments().iter().map(|segment| format!("{segment:x}")).collect();
            segments.join(":")
        }
    }
}

/// `user:base64(sha1(user:password))`, the id of the digest scheme.
pub fn digest_of(user_and_password: &str) -> String {
    let user = user_and_password.split(':').next().unwrap_or_default();
    let hash = Sha1::digest(user_and_password.as_bytes());
    format!("{user}:{}", base64::engine::general_purpose::STANDARD.encode(hash))
}

/// Identities that one connection may prove: each costs memory here and a comparison a request.
const IDS_MAX: usize = 1024;
/// Bytes of them: a user's name can be as long as a request.
const IDS_BYTES_MAX: usize = 1 << 20;

/// Adds what an auth packet proves to what the client has proved already.
///
/// # Errors
/// [`ErrorCode::AuthFailed`] for a scheme that the server does not offer, or one identity too many or
/// too long.
pub fn authenticate(
    known: &AuthInfo,
    scheme: &str,
    credentials: Option<&[u8]>,
    address: IpAddr,
    settings: &Settings,
) -> Result<AuthInfo, ErrorCode> {
    let mut ids = known.to_vec();
    let mut add = |scheme: &str, id: &str| {
        let id = AuthId { scheme: scheme.into(), id: id.into() };
        if !ids.contains(&id) {
            ids.push(id);
        }
    };
    match scheme {
        "digest" if settings.digest_auth_enabled => {
            let credentials = credentials.ok_or(ErrorCode::AuthFailed)?;
            let digest = digest_of(&String::from_utf8_lossy(credentials));
            if settings.super_digest.as_deref() == Some(&digest) {
                add("super", "");
            }
            add("digest", &digest);
        }
        "ip" => add("ip", &java_address(address)),
        _ => return Err(ErrorCode::AuthFailed),
    }
    let bytes: usize = ids.iter().map(|id| id.scheme.len() + id.id.len()).sum();
    if ids.len() > IDS_MAX || bytes > IDS_BYTES_MAX {
        return Err(ErrorCode::AuthFailed);
    }
    Ok(ids.into())
}

/// Whether a list lets a client do `perm`.
///
/// # Errors
/// [`ErrorCode::NoAuth`].
pub fn check(list: &AclList, perm: i32, ids: &[AuthId], settings: &Settings) -> Result<(), ErrorCode> {
    if list.world & perm != 0 || settings.skip_acl || list.entries.is_empty() {
        return Ok(());
    }
    if ids.iter().any(|id| &*id.scheme == "super") {
        return Ok(());
    }
    let grants = |entry: &AclEntry| {
        entry.perms & perm != 0
            && ids.iter().any(|id| id.scheme == entry.scheme && matches(entry, &id.id, settings))
    };
    if list.entries.iter().any(grants) { Ok(()) } else { Err(ErrorCode::NoAuth) }
}

/// Whether a client may be told of a change: `acl` is absent where everyone may.
pub fn may_read(acl: Option<&AclList>, ids: &[AuthId], settings: &Settings) -> bool {
    acl.is_none_or(|list| check(list, READ, ids, settings).is_ok())
}

fn matches(entry: &AclEntry, id: &str, settings: &Settings) -> bool {
    match &*entry.scheme {
        "digest" => settings.digest_auth_enabled && *entry.id == *id,
        "ip" => match (AddressRange::parse(&entry.id), AddressRange::parse(id)) {
            (Some(range), Some(address)) => range.contains(&address),
            _ => false,
        },
        _ => false,
    }
}

/// Checks the list of a create or setACL, and replaces the scheme `auth` by what the client has
/// proved (`PrepRequestProcessor.fixupACL`).
///
/// # Errors
/// [`ErrorCode::InvalidAcl`] for an empty list, or a scheme or id that is not valid.
pub fn fix_up(acl: &[records::Acl<'_>], ids: &[AuthId], settings: &Settings) -> Result<AclList, ErrorCode> {
    let mut entries = Vec::with_capacity(acl.len());
    let mut seen = BTreeSet::new();
    let mut room = settings.jute_max_buffer;
    for entry in acl {
        if !seen.insert((entry.perms, &entry.id.scheme, &entry.id.id)) {
            continue;
        }
        let scheme = entry.id.scheme.as_deref().ok_or(ErrorCode::InvalidAcl)?;
        // Java fails on a null id with an exception that it answers as a marshalling error.
        let id = entry.id.id.as_deref().ok_or(ErrorCode::MarshallingError);
        let known = |id: &str| AclEntry { perms: entry.perms, scheme: scheme.into(), id: id.into() };
        match scheme {
            "world" if id? == "anyone" => entries.push(known("anyone")),
            "auth" => {
                let before = entries.len();
                for proof in ids.iter().filter(|id| &*id.scheme == "digest") {
                    // Entries times proofs: a request must not become a list of any length.
                    room = room.checked_sub(12 + proof.id.len()).ok_or(ErrorCode::InvalidAcl)?;
                    entries.push(AclEntry {
                        perms: entry.perms,
                        scheme: proof.scheme.clone(),
                        id: proof.id.clone(),
                    });
                }
                if entries.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            "digest" if settings.digest_auth_enabled && is_digest_id(id?) => entries.push(known(id?)),
            "ip" if AddressRange::parse(id?).is_some() => entries.push(known(id?)),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    if entries.is_empty() { Err(ErrorCode::InvalidAcl) } else { Ok(AclList::new(entries)) }
}

/// Two parts around one colon, as Java's `split` counts them: empty parts at the end do not.
fn is_digest_id(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

/// An address, or a range of them in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AddressRange {
    address: u128,
    /// 32 or 128.
    width: u32,
    prefix: u32,
}

impl AddressRange {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let (address, width) = if address.contains(':') {
            (address.parse::<Ipv6Addr>().ok()?.to_bits(), 128)
        } else {
            let parts: Vec<&str> = address.split('.').collect();
            let [a, b, c, d] = parts[..] else { return None };
            let part = |text: &str| text.parse::<u8>().ok();
            (u128::from(Ipv4Addr::new(part(a)?, part(b)?, part(c)?, part(d)?).to_bits()), 32)
        };
        let prefix = prefix.unwrap_or(width);
        (prefix <= width).then_some(AddressRange { address, width, prefix })
    }

    fn contains(&self, other: &AddressRange) -> bool {
        let shift = self.width - self.prefix;
        let network = |address: u128| address.checked_shr(shift).unwrap_or(0);
        self.width == other.width && network(self.address) == network(other.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::perms;
    use std::borrow::Cow;

    fn acl<'a>(perms: i32, scheme: &'a str, id: &'a str) -> records::Acl<'a> {
        let text = |text: &'a str| Some(Cow::Borrowed(text));
        records::Acl { perms, id: records::Id { scheme: text(scheme), id: text(id) } }
    }

    #[test]
    fn digest_is_the_one_that_zookeepers_documentation_shows() {
        assert_eq!(digest_of("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    }

    #[test]
    fn ranges_hold_the_addresses_of_their_network() {
        let holds = |range: &str, address: &str| {
            AddressRange::parse(range).unwrap().contains(&AddressRange::parse(address).unwrap())
        };
        assert!(holds("127.0.0.0/8", "127.9.9.9"));
        assert!(!holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("0.0.0.0/0", "1.2.3.4"));
        assert!(holds("::/0", "0:0:0:0:0:0:0:1"));
        assert!(!holds("::/0", "1.2.3.4"));
        assert!(holds("fe80::/10", "fe80:0:0:0:0:0:0:7"));
        for bad in ["", "1.2.3", "1.2.3.4/33", "1.2.3.4/x", "1.2.3.400", "::1::", "anyone"] {
            assert_eq!(AddressRange::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_are_fixed_up_as_zookeeper_fixes_them() {
        let settings = Settings::default();
        let none = from_address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let user =
            authenticate(&none, "digest", Some(b"u:p"), IpAddr::V4(Ipv4Addr::LOCALHOST), &settings).unwrap();
        let fix = |list: &[records::Acl<'_>], ids: &[AuthId]| fix_up(list, ids, &settings);
        assert_eq!(fix(&[], &none), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix(&[acl(1, "auth", "")], &none), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix(&[acl(1, "digest", "nocolon")], &none), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix(&[acl(1, "foo", "x")], &none), Err(ErrorCode::InvalidAcl));
        let own = fix(&[acl(1, "auth", ""), acl(1, "auth", "")], &user).unwrap();
        assert_eq!(own.entries.len(), 1);
        assert_eq!(&*own.entries[0].id, digest_of("u:p"));
        assert!(check(&own, perms::READ, &user, &settings).is_ok());
        assert_eq!(check(&own, perms::WRITE, &user, &settings), Err(ErrorCode::NoAuth));
        assert_eq!(check(&own, perms::READ, &none, &settings), Err(ErrorCode::NoAuth));
    }

    #[test]
    fn the_super_user_may_do_everything() {
        let settings = Settings { super_digest: Some(digest_of("super:test")), ..Settings::default() };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ids =
            authenticate(&from_address(address), "digest", Some(b"super:test"), address, &settings).unwrap();
        let nobody = AclList::new(vec![AclEntry { perms: 0, scheme: "ip".into(), id: "1.1.1.1".into() }]);
        assert!(check(&nobody, perms::ALL, &ids, &settings).is_ok());
    }

    #[test]
    fn a_list_of_many_entries_is_fixed_up_in_one_pass() {
        let settings = Settings::default();
        let ids = from_address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let addresses: Vec<String> = (0..100_000u32).map(|n| Ipv4Addr::from_bits(n).to_string()).collect();
        let list: Vec<_> = addresses.iter().map(|address| acl(perms::READ, "ip", address)).collect();
        // Comparing each entry with each before it would take more than a minute here.
        assert_eq!(fix_up(&list, &ids, &settings).unwrap().entries.len(), 100_000);
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_has_its_ipv4_address() {
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped());
        assert_eq!(&*from_address(mapped)[0].id, "10.0.0.7");
    }

    #[test]
    fn a_connection_proves_so_many_identities_and_no_more() {
        let (settings, address) = (Settings::default(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut ids = from_address(address);
        for user in 1..IDS_MAX {
            let credentials = format!("{user}:p");
            ids = authenticate(&ids, "digest", Some(credentials.as_bytes()), address, &settings).unwrap();
        }
        assert_eq!(ids.len(), IDS_MAX);
        let again = authenticate(&ids, "digest", Some(b"1:p"), address, &settings);
        assert_eq!(again.unwrap().len(), IDS_MAX, "one that is known already is not one more");
        assert!(authenticate(&ids, "digest", Some(b"new:p"), address, &settings).is_err());
    }

    #[test]
    fn a_list_of_auth_entries_cannot_grow_without_bound() {
        let settings = Settings::default();
        let proof = |n: usize| AuthId { scheme: "digest".into(), id: format!("u{n}:x").into() };
        let ids: Vec<AuthId> = (0..1000).map(proof).collect();
        let list: Vec<_> = (0..10_000).map(|perms| acl(perms, "auth", "")).collect();
        assert_eq!(fix_up(&list, &ids, &settings), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix_up(&list[..10], &ids, &settings).unwrap().entries.len(), 10_000);
    }
}
