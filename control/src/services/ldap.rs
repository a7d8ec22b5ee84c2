//! Signing in with an LDAP directory (RFC 4511, 4513).
//!
//! ```text
//!   name, password ─▶ the service account looks for the person ─▶ nobody ─▶ Unknown
//!                              │ exactly one entry
//!                              ▼
//!                     a fresh connection binds as that entry ─▶ no ─▶ Wrong, or refused: locked, expired
//!                              │ yes
//!                              ▼
//!                     the service account reads their groups ─▶ Right(Told)
//! ```
//! - What somebody is here is their id attribute, which never changes; their name and their place in the directory may.
//! - An empty password never reaches a directory: it would be let in as nobody (RFC 4513, 5.1.2).
//! - The servers of a directory are asked in order until one answers. All of it together has a deadline.
//! - The password goes to a directory only once that has an entry for the name.

use crate::ldap::link::{self, Deadline};
use crate::ldap::{Entry, Fill, Filter, Link, Outcome, Search, Trouble, Url, filter, trouble};
use crate::services::ldap_id::{ID_BYTES_MAX, text_of, value_of};
use quantix_model::Secret;
use quantix_model::fault::{Fault, FaultCode, HostReason};
use quantix_model::identity::{LdapConfig, Told};
use rustls::ClientConfig;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest name that is looked for, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Longest password that is handed on, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Groups of one person.
const GROUPS_MAX: u32 = 1000;
/// Most that a test counts.
const COUNT_MAX: u32 = 1000;
/// What the directory itself is asked to keep to, in seconds.
const SEARCH_SECONDS: u32 = 5;

/// There is more than is told (RFC 4511, A.1): a limit of size, of time, or of the administrator.
const CUT: [u32; 3] = [3, 4, 11];
const OK: u32 = 0;
const SIZE_LIMIT: u32 = 4;
const INVALID_CREDENTIALS: u32 = 49;

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one server.
    pub server: Duration,
    /// For all of them together.
    pub all: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { server: Duration::from_secs(6), all: Duration::from_secs(15) }
    }
}

/// What came of a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The directory has nobody of that name.
    Unknown,
    /// It has, and the password is not theirs.
    Wrong,
    /// It is not willing to let them in, whatever the password: locked, expired, turned off.
    Refused(Fault),
    /// It is them.
    Right(Told),
}

/// Whether somebody is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// So they stand now.
    There(Told),
    /// The directory has no such entry any more, or none that may sign in.
    Gone,
    /// What it says of them cannot be used: it says nothing.
    Unclear(Fault),
}

/// A number that may be more.
#[derive(Clone, Copy, Debug)]
struct Count {
    seen: usize,
    more: bool,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.seen, if self.more { " or more" } else { "" })
    }
}

/// Who is meant.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// Somebody of that name, as typed.
    Name(&'a str),
    /// The one who is known here, whatever they are called there by now.
    Subject(&'a str),
}

impl Who<'_> {
    fn text(&self) -> &str {
        match self {
            Who::Name(text) | Who::Subject(text) => text,
        }
    }
}

/// A directory, as it is set up here.
#[derive(Clone)]
pub struct Directory<'a> {
    config: &'a LdapConfig,
    bind_password: &'a Secret,
    limits: Limits,
}

/// The servers of a directory in turn, and why those before would not.
struct Servers {
    left: std::vec::IntoIter<Url>,
    limits: Limits,
    end: Instant,
    failed: Vec<(Url, Fault)>,
}

impl Servers {
    fn next(&mut self) -> Option<(Url, Deadline)> {
        if Instant::now() >= self.end {
            return None;
        }
        self.left.next().map(|url| (url, Deadline::within(self.limits.server, self.end)))
    }

    /// Goes on when another server may do better.
    fn failed(&mut self, url: Url, trouble: Trouble) -> Result<(), Fault> {
        match trouble {
            Trouble::Line(fault) => self.failed.push((url, fault)),
            Trouble::Answer(fault) => return Err(fault),
        }
        Ok(())
    }

    /// None did.
    fn into_fault(self) -> Fault {
        let line = |(url, fault): &(Url, Fault)| HostReason {
            host_id: String::new(),
            host: url.to_string(),
            reason: fault.message.clone(),
        };
        let reasons = if self.failed.len() > 1 { self.failed.iter().map(line).collect() } else { Vec::new() };
        match self.failed.into_iter().next() {
            Some((_, fault)) => fault.with_reasons(reasons),
            None => Fault::invalid("ldap.urls", "No server of the directory is named.", "Give its URL."),
        }
    }
}

impl<'a> Directory<'a> {
    /// A directory as `config` says.
    pub fn new(config: &'a LdapConfig, bind_password: &'a Secret) -> Directory<'a> {
        Directory { config, bind_password, limits: Limits::default() }
    }

    /// The same with other limits.
    pub fn limited(self, limits: Limits) -> Directory<'a> {
        Directory { limits, ..self }
    }

    /// Asks whether that is their password.
    pub async fn authenticate(&self, who: Who<'_>, password: &str) -> Result<Answer, Fault> {
        // Before anything: a bind without a password goes well and proves nothing.
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Ok(Answer::Wrong);
        }
        if who.text().is_empty() || who.text().len() > NAME_BYTES_MAX {
            return Ok(Answer::Unknown);
        }
        let (mut servers, tls) = self.begin().await?;
        while let Some((url, deadline)) = servers.next() {
            match self.authenticate_at(&url, &tls, deadline, who, password).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => servers.failed(url, trouble)?,
            }
        }
        Err(servers.into_fault())
    }

    /// Looks what is to be seen there; adds it to `facts`, a sentence each, as far as it comes.
    pub async fn test(&self, facts: &mut Vec<String>) -> Result<(), Fault> {
        let (mut servers, tls) = self.begin().await?;
        let mut seen = false;
        while let Some((url, deadline)) = servers.next() {
            let done = match seen {
                false => self.look_at(&url, &tls, deadline, facts).await,
                // The others need only be able to stand in.
                true => self.open(&url, &tls, deadline).await.map(|link| facts.push(greeting(&link))),
            };
            match done {
                Ok(()) => seen = true,
                Err(trouble) => {
                    facts.push(format!("Warning: {}", trouble.clone().into_fault().message));
                    if !seen {
                        servers.failed(url, trouble)?;
                    }
                }
            }
        }
        if seen { Ok(()) } else { Err(servers.into_fault()) }
    }

    /// Looks, as the service account, how these people stand now. What cannot be asked is a fault and never `Gone`.
    pub async fn look_up(&self, subjects: &[String]) -> Result<Vec<Standing>, Fault> {
        let (mut servers, tls) = self.begin().await?;
        while let Some((url, deadline)) = servers.next() {
            match self.look_up_at(&url, &tls, deadline, subjects).await {
                Ok(standing) => return Ok(standing),
                Err(trouble) => servers.failed(url, trouble)?,
            }
        }
        Err(servers.into_fault())
    }

    async fn begin(&self) -> Result<(Servers, Arc<ClientConfig>), Fault> {
        if !self.config.bind_dn.is_empty() && self.bind_password.is_empty() {
            let text = "The account that searches has no password.";
            return Err(Fault::invalid("secret", text, "Give its password, or no account."));
        }
        let urls: Result<Vec<Url>, Fault> =
            self.config.urls.iter().map(|url| Url::read(url, self.config.start_tls)).collect();
        let tls = link::trust(&self.config.ca_pem).await?;
        let (limits, end) = (self.limits, Instant::now() + self.limits.all);
        Ok((Servers { left: urls?.into_iter(), limits, end, failed: Vec::new() }, tls))
    }

    /// A connection that searches.
    async fn open(&self, url: &Url, tls: &Arc<ClientConfig>, deadline: Deadline) -> Result<Link, Trouble> {
        const STEP: &str = "signing in to search";
        let mut link = Link::open(url, tls.clone(), deadline).await?;
        let dn = self.config.bind_dn.as_str();
        let password = if dn.is_empty() { "" } else { self.bind_password.expose() };
        let outcome = link.bind(dn, password, STEP).await?;
        match outcome.code {
            OK => Ok(link),
            34 => Err(trouble::refused(url, STEP, "ldap.bind_dn", &outcome)),
            _ => Err(trouble::refused(url, STEP, "secret", &outcome)),
        }
    }

    async fn authenticate_at(
        &self,
        url: &Url,
        tls: &Arc<ClientConfig>,
        deadline: Deadline,
        who: Who<'_>,
        password: &str,
    ) -> Result<Answer, Trouble> {
        let mut search = self.open(url, tls, deadline).await?;
        let wanted = self.wanted(who)?;
        let Some(entry) = self.person(&mut search, &wanted, who.text()).await? else {
            search.close().await;
            return Ok(Answer::Unknown);
        };
        // Read before the password is used: who cannot be told apart is not let in.
        let subject = self.subject(&entry)?;
        let name = self.name(&entry, who.text())?;
        let mut fresh = Link::open(url, tls.clone(), deadline).await?;
        let outcome = fresh.bind(&entry.dn, password, "checking the password").await?;
        fresh.close().await;
        if let Some(no) = unproved(url, &outcome)? {
            search.close().await;
            return Ok(no);
        }
        let groups = self.groups(&mut search, &name, &entry.dn).await?;
        search.close().await;
        Ok(Answer::Right(Told { subject, name, groups }))
    }

    fn wanted(&self, who: Who<'_>) -> Result<Filter, Fault> {
        let template = &self.config.user_filter;
        match who {
            Who::Name(name) => filter::fill("ldap.user_filter", template, Fill::Person { name, dn: "" }),
            Who::Subject(subject) => {
                let attribute = &self.config.id_attribute;
                let anybody = filter::fill("ldap.user_filter", template, Fill::Anybody)?;
                Ok(Filter::equal(attribute, &value_of(attribute, subject)).and(&anybody))
            }
        }
    }

    /// The one entry that is meant.
    async fn person(&self, link: &mut Link, wanted: &Filter, shown: &str) -> Result<Option<Entry>, Trouble> {
        const STEP: &str = "looking for the person";
        let config = self.config;
        let what = Search {
            base: &config.user_base,
            filter: wanted,
            attributes: &[&config.id_attribute, &config.name_attribute],
            entries_max: 2,
            seconds_max: SEARCH_SECONDS,
        };
        let (mut found, outcome) = link.search(&what, STEP).await?;
        match (found.len(), outcome.code) {
            (0 | 1, OK) => {}
            (2.., OK) | (1.., SIZE_LIMIT) => {
                let text = format!("The directory has more than one entry for {shown:?}.");
                let remedy = "Narrow the base or the filter so that it finds one entry for each name.";
                let fault = Fault::new(FaultCode::IdentitySourceInvalid, text, remedy);
                let names: Vec<&str> = found.iter().map(|entry| entry.dn.as_str()).collect();
                return Err(Trouble::Answer(fault.because(names.join("; "))));
            }
            _ => return Err(trouble::refused(link.url(), STEP, "ldap.user_base", &outcome)),
        }
        match found.pop() {
            // Binding as nobody goes well with any password (RFC 4513, 5.1.2).
            Some(entry) if entry.dn.is_empty() => Err(self.odd("an entry without a name").into()),
            one => Ok(one),
        }
    }

    fn odd(&self, what: &str) -> Fault {
        let text = format!("The directory answered with {what}.");
        Fault::new(
            FaultCode::IdentitySourceInvalid,
            text,
            "Look into the directory; correct the attributes named here.",
        )
    }

    fn subject(&self, entry: &Entry) -> Result<String, Trouble> {
        let attribute = &self.config.id_attribute;
        match entry.values(attribute) {
            [id] if !id.is_empty() && id.len() <= ID_BYTES_MAX => Ok(text_of(attribute, id)),
            [] => {
                let text = format!("The person's entry has no {attribute}, or it may not be read.");
                let remedy = "Name an attribute that everybody has and that never changes (entryUUID; objectGUID in Active Directory), and let the account that searches read it.";
                let fault = Fault {
                    field: "ldap.id_attribute".into(),
                    ..Fault::new(FaultCode::IdentitySourceInvalid, text, remedy)
                };
                Err(Trouble::Answer(fault.because(&entry.dn)))
            }
            _ => {
                let text = format!("The person's entry has a {attribute} that cannot be used.");
                let remedy = "Name an attribute that everybody has once, with 128 bytes at most.";
                let fault = Fault {
                    field: "ldap.id_attribute".into(),
                    ..Fault::new(FaultCode::IdentitySourceInvalid, text, remedy)
                };
                Err(Trouble::Answer(fault.because(&entry.dn)))
            }
        }
    }

    /// What the person is called: of several names the one that was typed.
    fn name(&self, entry: &Entry, typed: &str) -> Result<String, Trouble> {
        let attribute = &self.config.name_attribute;
        let same = |name: &&str| name.to_lowercase() == typed.to_lowercase();
        let found = entry.texts(attribute).find(same).or_else(|| entry.texts(attribute).next());
        let Some(name) = found.filter(|name| !name.is_empty()) else {
            let text = format!("The person's entry has no {attribute}, or it may not be read.");
            let remedy = "Name the attribute that people sign in with (uid; sAMAccountName in Active Directory), and let the account that searches read it.";
            let fault = Fault {
                field: "ldap.name_attribute".into(),
                ..Fault::new(FaultCode::IdentitySourceInvalid, text, remedy)
            };
            return Err(Trouble::Answer(fault.because(&entry.dn)));
        };
        Ok(name.to_owned())
    }

    async fn groups(&self, link: &mut Link, name: &str, dn: &str) -> Result<Vec<String>, Trouble> {
        const STEP: &str = "reading groups";
        let config = self.config;
        if config.group_base.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = filter::fill("ldap.group_filter", &config.group_filter, Fill::Person { name, dn })?;
        let what = Search {
            base: &config.group_base,
            filter: &wanted,
            attributes: &[&config.group_name_attribute],
            entries_max: GROUPS_MAX,
            seconds_max: SEARCH_SECONDS,
        };
        let (found, outcome) = link.search(&what, STEP).await?;
        if outcome.code == SIZE_LIMIT {
            tracing::warn!(dn, GROUPS_MAX, "a person is in more groups than are read");
        } else if outcome.code != OK {
            return Err(trouble::refused(link.url(), STEP, "ldap.group_base", &outcome));
        }
        let texts = found.iter().flat_map(|entry| entry.texts(&config.group_name_attribute));
        let mut groups: Vec<String> = texts.map(str::to_owned).collect();
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    async fn look_at(
        &self,
        url: &Url,
        tls: &Arc<ClientConfig>,
        deadline: Deadline,
        facts: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        let config = self.config;
        let mut link = self.open(url, tls, deadline).await?;
        facts.push(greeting(&link));
        facts.push(match config.bind_dn.as_str() {
            "" => "It lets us search without an account.".to_owned(),
            dn => format!("It lets us search as {dn}."),
        });
        let anybody = filter::fill("ldap.user_filter", &config.user_filter, Fill::Anybody)?;
        let attributes = [config.id_attribute.as_str(), config.name_attribute.as_str()];
        let (found, people) =
            count(&mut link, &config.user_base, &anybody, &attributes, "ldap.user_base").await?;
        facts.push(format!("{people} people found."));
        if found.is_empty() {
            facts.push("Warning: look at the base and the filter of people, and at what the account that searches may read.".into());
        }
        for attribute in attributes {
            let without = found.iter().filter(|entry| entry.values(attribute).is_empty()).count();
            if without > 0 {
                let of = found.len();
                facts.push(format!("Warning: {without} of {of} people seen have no {attribute} that may be read: they cannot sign in."));
            }
        }
        if !config.group_base.is_empty() {
            let any = filter::fill("ldap.group_filter", &config.group_filter, Fill::Anybody)?;
            let names = [config.group_name_attribute.as_str()];
            let (found, groups) =
                count(&mut link, &config.group_base, &any, &names, "ldap.group_base").await?;
            let named = found.iter().any(|entry| entry.texts(names[0]).next().is_some());
            match (config.group_filter.contains(":={"), named) {
                // A rule for matching (`:=`) takes no `*`.
                (true, _) => facts.push("Groups cannot be counted with this filter.".into()),
                (false, true) => facts.push(format!("{groups} groups found.")),
                (false, false) => facts.push("Warning: no group with a name is found: look at the base, the filter and the name attribute of groups.".into()),
            }
        }
        link.close().await;
        Ok(())
    }

    async fn stands(&self, link: &mut Link, wanted: &Filter, subject: &str) -> Result<Standing, Trouble> {
        let Some(entry) = self.person(link, wanted, subject).await? else { return Ok(Standing::Gone) };
        let name = self.name(&entry, "")?;
        let groups = self.groups(link, &name, &entry.dn).await?;
        Ok(Standing::There(Told { subject: subject.to_owned(), name, groups }))
    }

    async fn look_up_at(
        &self,
        url: &Url,
        tls: &Arc<ClientConfig>,
        deadline: Deadline,
        subjects: &[String],
    ) -> Result<Vec<Standing>, Trouble> {
        let mut link = self.open(url, tls, deadline).await?;
        let mut standing = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let wanted = self.wanted(Who::Subject(subject))?;
            standing.push(match self.stands(&mut link, &wanted, subject).await {
                Ok(standing) => standing,
                Err(Trouble::Answer(fault)) => Standing::Unclear(fault),
                Err(broken) => return Err(broken),
            });
        }
        let there = |one: &Standing| matches!(one, Standing::There(_));
        if standing.contains(&Standing::Gone) && !standing.iter().any(there) {
            // An account that may see nothing any more must not make everybody seem to have gone.
            let anybody = filter::fill("ldap.user_filter", &self.config.user_filter, Fill::Anybody)?;
            let (found, _) =
                count(&mut link, &self.config.user_base, &anybody, &[], "ldap.user_base").await?;
            if found.is_empty() {
                return Err(self.odd("nobody at all, whoever is looked for").into());
            }
        }
        link.close().await;
        Ok(standing)
    }
}

fn greeting(link: &Link) -> String {
    let (url, line) = (link.url(), link.secured());
    let day = jiff::Timestamp::from_millisecond(line.ends_at.0).map(|at| at.strftime("%Y-%m-%d").to_string());
    let (issuer, day) = (&line.issuer, day.unwrap_or_default());
    format!("{url} answers over {}; its certificate is signed by {issuer} and ends on {day}.", line.version)
}

async fn count(
    link: &mut Link,
    base: &str,
    filter: &Filter,
    attributes: &[&str],
    field: &str,
) -> Result<(Vec<Entry>, Count), Trouble> {
    const STEP: &str = "counting";
    let what = Search { base, filter, attributes, entries_max: COUNT_MAX, seconds_max: SEARCH_SECONDS };
    let (found, outcome) = link.search(&what, STEP).await?;
    let more = CUT.contains(&outcome.code) && !found.is_empty();
    if outcome.code != OK && !more {
        return Err(trouble::refused(link.url(), STEP, field, &outcome));
    }
    let seen = found.len();
    Ok((found, Count { seen, more }))
}

/// Why a bind did not prove the person; `None` when it did.
fn unproved(url: &Url, outcome: &Outcome) -> Result<Option<Answer>, Trouble> {
    let not_in = |why: &str, remedy: &str| {
        let text = format!("The directory does not let you in: {why}.");
        let fault = Fault::new(FaultCode::IdentitySourceRefused, text, remedy);
        Ok(Some(Answer::Refused(fault.because(trouble::said(outcome)))))
    };
    let ask = "Ask those who run the directory.";
    let change = "Set a new password in the directory, then sign in here with it.";
    match (outcome.code, outcome.policy) {
        (OK, Some(2)) => not_in("you are to change your password first", change),
        (OK, _) => Ok(None),
        (INVALID_CREDENTIALS, Some(0)) => not_in("your password has expired", change),
        (INVALID_CREDENTIALS, Some(1)) => not_in("your account is locked", ask),
        // What Active Directory says with it: MS-ADTS, 5.1.1.1.1, and the system errors of Windows.
        (INVALID_CREDENTIALS, _) => match active_directory(&outcome.words) {
            Some(0x530 | 0x531) => not_in("you may not sign in now, or not from here", ask),
            Some(0x532) => not_in("your password has expired", change),
            Some(0x533) => not_in("your account is turned off", ask),
            Some(0x701) => not_in("your account has expired", ask),
            Some(0x773) => not_in("you are to change your password first", change),
            Some(0x775) => not_in("your account is locked", ask),
            _ => Ok(Some(Answer::Wrong)),
        },
        (19, _) => {
            not_in("a rule there forbids it; most often the account is locked after wrong passwords", ask)
        }
        (50 | 53, _) => not_in("your account may not sign in", ask),
        // Gone since it was found, or without a password.
        (32 | 48, _) => Ok(Some(Answer::Wrong)),
        _ => Err(trouble::refused(url, "checking the password", "", outcome)),
    }
}

/// The number in `… AcceptSecurityContext error, data 775, v3839`.
fn active_directory(words: &str) -> Option<u32> {
    let (_, rest) = words.split_once("AcceptSecurityContext error, data ")?;
    u32::from_str_radix(rest.split(',').next()?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u32, policy: Option<u32>, words: &str) -> Result<Option<Answer>, Fault> {
        let url = Url::read("ldaps://ldap.example.org", false)?;
        let outcome = Outcome { code, policy, words: words.into(), ..Outcome::default() };
        unproved(&url, &outcome).map_err(Trouble::into_fault)
    }

    #[test]
    fn what_a_bind_says_of_somebody() {
        const AD: &str = "80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data ";
        assert_eq!(answer(0, None, ""), Ok(None));
        for wrong in
            [answer(49, None, ""), answer(49, None, &format!("{AD}52e, v3839")), answer(32, None, "")]
        {
            assert_eq!(wrong, Ok(Some(Answer::Wrong)));
        }
        for (refused, why) in [
            (answer(0, Some(2), ""), "change your password"),
            (answer(49, Some(0), ""), "expired"),
            (answer(49, Some(1), ""), "locked"),
            (answer(49, None, &format!("{AD}775, v3839")), "locked"),
            (answer(49, None, &format!("{AD}533, v3839")), "turned off"),
            (answer(19, None, "Exceed password retry limit."), "locked"),
            (answer(53, None, "Account inactivated."), "may not sign in"),
        ] {
            let Ok(Some(Answer::Refused(fault))) = refused else { panic!("{why}: {refused:?}") };
            assert!(fault.message.contains(why) && !fault.remedy.is_empty(), "{fault}");
            assert!(fault.cause.contains("result "), "{fault}");
        }
        assert_eq!(answer(51, None, "").expect_err("busy").code, FaultCode::IdentitySourceUnreachable);
        for failed in [answer(80, None, ""), answer(14, None, "")] {
            assert_eq!(failed.expect_err("failed").code, FaultCode::IdentitySourceRefused);
        }
    }
}
