//! An OpenLDAP of one's own: on loopback, in a folder, with a certificate of its own authority; gone when dropped.
//!
//! ```text
//!   dc=example,dc=org ─┬─ cn=reader                       searches, as the vDC does
//!                      ├─ ou=people ─┬─ ada, bob, …       password "<uid>'s password"
//!                      │             ├─ p0000 … p1999     more than a search gives
//!                      │             └─ ou=branch ─ twin  a second one of that name
//!                      └─ ou=groups ── admins, operators, everybody
//! ```

use crate::process::{Process, free_port};
use quantix_model::Secret;
use quantix_model::identity::LdapConfig;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where all of it is.
pub const BASE: &str = "dc=example,dc=org";
/// People without a name of their own.
pub const CROWD: usize = 2000;
/// Password of the account that searches.
pub const READER_PASSWORD: &str = "reads but never writes";
const ROOT_PASSWORD: &str = "only for the yard";
/// A name with everything that must be escaped in filters, and in names of entries.
pub const TRICKY: &str = r"cn=Smith\, Jo (*\\),ou=people,dc=example,dc=org";
const PROGRAM: &str = "/usr/sbin/slapd";
const INSTALL: &str = "apt-get install -y --no-install-recommends slapd ldap-utils";
const START_DEADLINE: Duration = Duration::from_secs(30);

/// See the module.
pub struct Slapd {
    dir: PathBuf,
    plain_port: u16,
    tls_port: u16,
    ca_pem: String,
    server: Option<Process>,
}

impl Slapd {
    /// Makes it in `dir`, fills it, and waits until it answers.
    ///
    /// # Panics
    /// When OpenLDAP is missing or does not start.
    pub fn start(dir: &Path) -> Slapd {
        std::fs::create_dir_all(dir.join("db")).expect("a folder of its own");
        // Where AppArmor knows slapd, it lets it read nothing but the system's own directory.
        std::fs::copy(PROGRAM, dir.join("slapd")).unwrap_or_else(|e| panic!("{PROGRAM}: {e}. {INSTALL}"));
        let ca_pem = certificates(dir);
        let mut slapd = Slapd {
            dir: dir.to_owned(),
            plain_port: free_port(),
            tls_port: free_port(),
            ca_pem,
            server: None,
        };
        std::fs::write(dir.join("slapd.conf"), slapd.conf()).expect("written");
        std::fs::write(dir.join("data.ldif"), data()).expect("written");
        let mut fill = slapd.program();
        fill.args(["-T", "add", "-q", "-f"]).arg(dir.join("slapd.conf")).arg("-l").arg(dir.join("data.ldif"));
        let fill = fill.output();
        let fill = fill.unwrap_or_else(|e| panic!("slapadd: {e}"));
        assert!(fill.status.success(), "slapadd: {}", String::from_utf8_lossy(&fill.stderr));
        slapd.restart();
        slapd
    }

    fn program(&self) -> Command {
        let mut command = Command::new(self.dir.join("slapd"));
        command.stdin(Stdio::null());
        command
    }

    fn conf(&self) -> String {
        let dir = self.dir.display();
        let mut text = String::new();
        for schema in ["core", "cosine", "inetorgperson"] {
            let _ = writeln!(text, "include /etc/ldap/schema/{schema}.schema");
        }
        let _ = write!(
            text,
            "modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload ppolicy\npidfile {dir}/slapd.pid\n\
             argsfile {dir}/slapd.args\nTLSCertificateFile {dir}/cert.pem\nTLSCertificateKeyFile {dir}/key.pem\n\
             database mdb\nsuffix \"{BASE}\"\nrootdn \"cn=root,{BASE}\"\nrootpw \"{ROOT_PASSWORD}\"\n\
             directory {dir}/db\nmaxsize 67108864\ndbnosync\n\
             index objectClass,uid,entryUUID,employeeNumber,member eq\n\
             overlay ppolicy\nppolicy_default \"cn=policy,{BASE}\"\nppolicy_use_lockout\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"cn=reader,{BASE}\" read by * none\n"
        );
        text
    }

    /// Starts it when it does not run, and waits until it answers.
    pub fn restart(&mut self) {
        self.stop();
        let urls = format!("{}/ {}/", self.ldap_url(), self.ldaps_url());
        let mut command = self.program();
        command.args(["-d", "0", "-h", &urls, "-f"]).arg(self.dir.join("slapd.conf"));
        self.server = Some(Process::start("slapd", command));
        let end = Instant::now() + START_DEADLINE;
        while TcpStream::connect(("127.0.0.1", self.tls_port)).is_err() {
            assert!(Instant::now() < end, "slapd does not answer on {}", self.ldaps_url());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it, as an administrator does; what it holds stays.
    pub fn stop(&mut self) {
        self.server = None;
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(server.pid()).expect("a process id")).expect("a process");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Freezes it: connections are taken, and nothing is said.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// TLS from the first byte.
    pub fn ldaps_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    /// In the clear, until StartTLS.
    pub fn ldap_url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.plain_port)
    }

    /// Who signed its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// How the vDC would be told of it.
    pub fn config(&self) -> LdapConfig {
        LdapConfig {
            urls: vec![self.ldaps_url()],
            start_tls: false,
            ca_pem: self.ca_pem.clone(),
            bind_dn: format!("cn=reader,{BASE}"),
            user_base: format!("ou=people,{BASE}"),
            user_filter: "(&(objectClass=inetOrgPerson)(uid={name}))".into(),
            id_attribute: "entryUUID".into(),
            name_attribute: "uid".into(),
            group_base: format!("ou=groups,{BASE}"),
            group_filter: "(&(objectClass=groupOfNames)(member={dn}))".into(),
            group_name_attribute: "cn".into(),
        }
    }

    /// Password of the account that searches.
    pub fn secret(&self) -> Secret {
        Secret::new(READER_PASSWORD)
    }

    /// Changes what it holds, as its administrator.
    pub fn modify(&self, ldif: &str) {
        let mut command = Command::new("ldapmodify");
        command.args(["-x", "-H", &self.ldap_url(), "-D", &format!("cn=root,{BASE}"), "-w", ROOT_PASSWORD]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("ldapmodify: {e}. {INSTALL}"));
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(ldif.as_bytes()).expect("it listens");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "ldapmodify: {}\n{ldif}", String::from_utf8_lossy(&output.stderr));
    }

    /// Gives somebody another password, which they need not change.
    pub fn set_password(&self, uid: &str, password: &str) {
        let dn = person(uid);
        self.modify(&format!(
            "dn: {dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: {password}\n"
        ));
        // What an administrator sets is to be changed first, says the policy.
        self.modify(&format!("dn: {dn}\nchangetype: modify\ndelete: pwdReset\n"));
    }

    /// Takes somebody away.
    pub fn remove(&self, uid: &str) {
        self.modify(&format!("dn: {}\nchangetype: delete\n", person(uid)));
    }

    /// Gives somebody another name; they stay who they are.
    pub fn rename(&self, uid: &str, new: &str) {
        let dn = person(uid);
        self.modify(&format!("dn: {dn}\nchangetype: modrdn\nnewrdn: uid={new}\ndeleteoldrdn: 1\n"));
    }

    /// Puts somebody into a group.
    pub fn join(&self, group: &str, uid: &str) {
        let (dn, group) = (person(uid), format!("cn={group},ou=groups,{BASE}"));
        self.modify(&format!("dn: {group}\nchangetype: modify\nadd: member\nmember: {dn}\n"));
    }

    /// Takes somebody out of a group.
    pub fn leave(&self, group: &str, uid: &str) {
        let (dn, group) = (person(uid), format!("cn={group},ou=groups,{BASE}"));
        self.modify(&format!("dn: {group}\nchangetype: modify\ndelete: member\nmember: {dn}\n"));
    }

    /// Adds somebody, whose password is [`password_of`] them.
    pub fn add(&self, uid: &str) {
        let (dn, entry) = (format!("dn: {}\n", person(uid)), entry(&person(uid), uid, ""));
        self.modify(&entry.replacen(&dn, &format!("{dn}changetype: add\n"), 1));
    }
}

/// Where somebody is.
pub fn person(uid: &str) -> String {
    format!("uid={uid},ou=people,{BASE}")
}

/// Somebody's password, until it is changed.
pub fn password_of(uid: &str) -> String {
    format!("{uid}'s password")
}

fn entry(dn: &str, uid: &str, more: &str) -> String {
    let password = password_of(uid);
    format!(
        "dn: {dn}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {}\nsn: {uid}\nuserPassword: {password}\n{more}\n",
        if dn == TRICKY { r"Smith, Jo (*\)" } else { uid },
    )
}

fn data() -> String {
    let mut text = format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n\
         dn: cn=reader,{BASE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\n\
         userPassword: {READER_PASSWORD}\n\n\
         dn: cn=policy,{BASE}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\n\
         pwdLockout: TRUE\npwdMaxFailure: 8\npwdMustChange: TRUE\n\n"
    );
    for (unit, of) in
        [("people", BASE.to_owned()), ("groups", BASE.to_owned()), ("branch", format!("ou=people,{BASE}"))]
    {
        let _ = writeln!(text, "dn: ou={unit},{of}\nobjectClass: organizationalUnit\nou: {unit}\n");
    }
    for uid in ["ada", "bob", "carol", "dave", "admin"] {
        text += &entry(&person(uid), uid, &format!("employeeNumber: {uid}-1\n"));
    }
    text += &entry(&person("twin"), "twin", "");
    text += &entry(&format!("uid=twin,ou=branch,ou=people,{BASE}"), "twin", "");
    text += &entry(&person("locked"), "locked", "pwdAccountLockedTime: 000001010000Z\n");
    text += &entry(&person("fresh"), "fresh", "pwdReset: TRUE\n");
    text += &entry(TRICKY, "jo", "");
    for number in 0..CROWD {
        let uid = format!("p{number:04}");
        text += &entry(&person(&uid), &uid, "");
    }
    let members =
        |dns: &[String]| dns.iter().fold(String::new(), |text, dn| text + &format!("member: {dn}\n"));
    let crowd: Vec<String> = (0..CROWD).map(|number| person(&format!("p{number:04}"))).collect();
    for (group, of) in [
        ("admins", members(&[person("ada"), TRICKY.to_owned()])),
        ("operators", members(&[person("ada"), person("carol")])),
        ("everybody", members(&crowd)),
    ] {
        let _ =
            writeln!(text, "dn: cn={group},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: {group}\n{of}");
    }
    text
}

/// Writes a certificate for loopback and its key; answers the authority.
fn certificates(dir: &Path) -> String {
    let (root, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of the yard");
    let ca_pem = params.self_signed(&root).expect("it signs itself").pem();
    let issuer = Issuer::new(params, root);
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    params.distinguished_name.push(DnType::CommonName, "directory of the yard");
    let leaf = params.signed_by(&key, &issuer).expect("it is signed");
    std::fs::write(dir.join("cert.pem"), leaf.pem()).expect("written");
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("written");
    ca_pem
}
