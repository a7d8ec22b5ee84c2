//! Who may call what, and what is written into the audit log: one row for every RPC and every route. What has no row is
//! refused, and the law tests refuse a contract with a call that has none.
//!
//! A row that is not audited says why.

use http::Method;
use quantix_model::right::Permission;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Public,
    /// A signed-in person, for what is their own; also one who must change the password first. No token will do.
    Newcomer,
    /// A signed-in person, for what is their own. No token will do.
    Own,
    /// A person or a token of theirs; there is nothing to see or do in it that is not checked thing by thing.
    Person,
    /// This permission, on everything.
    Right(Permission),
    /// This permission on something; the handler checks each thing it shows or touches.
    Within(Permission),
    /// A registered host.
    Host,
    /// Who shows the scrape token.
    Scraper,
}

/// Whether a call is written into the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Always, whatever came of it.
    Yes,
    /// Only when it was refused for want of a permission.
    Refusals(&'static str),
    /// Never.
    No(&'static str),
}

/// Reading changes nothing; that somebody tried who may not is written down.
const READS: Audit = Audit::Refusals("it only reads");
/// What a host reports is an event when it means something.
const REPORT: Audit = Audit::No("a report of a host; what it changes stands in the events");
/// Each sign-in page asks for one when it is opened.
const ASKS: Audit = Audit::No("it opens nothing; who came in with it stands with ConfirmLogin");
/// The connection says nothing of its own.
const STREAM: Audit = Audit::No("it follows what is on a screen; each thing is checked");

use Need::{Host, Newcomer, Own, Public, Right, Scraper, Within};
use Permission as P;

/// Every RPC the vDC serves.
#[rustfmt::skip]
pub const RPCS: &[(&str, Need, Audit)] = &[
    ("/quantix.session.v1.SessionService/Login", Public, Audit::Yes),
    ("/quantix.session.v1.SessionService/BeginPasskeyLogin", Public, ASKS),
    ("/quantix.session.v1.SessionService/ConfirmLogin", Public, Audit::Yes),
    ("/quantix.session.v1.SessionService/Logout", Newcomer, Audit::Yes),
    ("/quantix.session.v1.SessionService/GetSession", Newcomer, READS),
    ("/quantix.session.v1.SessionService/ChangePassword", Newcomer, Audit::Yes),
    ("/quantix.session.v1.SessionService/ListSessions", Own, READS),
    ("/quantix.session.v1.SessionService/RevokeSession", Own, Audit::Yes),
    ("/quantix.session.v1.SessionService/RevokeOtherSessions", Own, Audit::Yes),
    ("/quantix.factor.v1.FactorService/ListFactors", Own, READS),
    ("/quantix.factor.v1.FactorService/BeginTotp", Own, Audit::Yes),
    ("/quantix.factor.v1.FactorService/ConfirmTotp", Own, Audit::Yes),
    ("/quantix.factor.v1.FactorService/BeginPasskey", Own, Audit::Yes),
    ("/quantix.factor.v1.FactorService/ConfirmPasskey", Own, Audit::Yes),
    ("/quantix.factor.v1.FactorService/RemoveFactor", Own, Audit::Yes),
    ("/quantix.factor.v1.FactorService/MakeRecoveryCodes", Own, Audit::Yes),
    ("/quantix.user.v1.UserService/ListUsers", Right(P::PeopleView), READS),
    ("/quantix.user.v1.UserService/GetUser", Right(P::PeopleView), READS),
    ("/quantix.user.v1.UserService/CreateUser", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.user.v1.UserService/RenameUser", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.user.v1.UserService/SetUserDisabled", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.user.v1.UserService/ResetUserPassword", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.user.v1.UserService/ClearUserFactors", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.user.v1.UserService/DeleteUser", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.user.v1.UserService/ListUserSessions", Right(P::PeopleView), READS),
    ("/quantix.user.v1.UserService/RevokeUserSessions", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.identity.v1.IdentityService/ListSignInWays", Public, READS),
    ("/quantix.identity.v1.IdentityService/GetSignInFault", Public, READS),
    ("/quantix.identity.v1.IdentityService/ListIdentitySources", Right(P::PeopleView), READS),
    ("/quantix.identity.v1.IdentityService/CreateIdentitySource", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.identity.v1.IdentityService/UpdateIdentitySource", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.identity.v1.IdentityService/DeleteIdentitySource", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.identity.v1.IdentityService/TestIdentitySource", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.identity.v1.IdentityService/GetSignInSettings", Right(P::PeopleView), READS),
    ("/quantix.identity.v1.IdentityService/UpdateSignInSettings", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.system.v1.SystemService/GetSummary", Right(P::SystemView), READS),
    ("/quantix.watch.v1.WatchService/Look", Need::Person, STREAM),
    ("/quantix.watch.v1.WatchService/Watch", Need::Person, STREAM),
    ("/quantix.task.v1.TaskService/ListTasks", Need::Person, READS),
    ("/quantix.task.v1.TaskService/GetTask", Need::Person, READS),
    ("/quantix.task.v1.TaskService/CancelTask", Need::Person, Audit::Yes),
    ("/quantix.event.v1.EventService/ListEvents", Need::Person, READS),
    ("/quantix.alert.v1.AlertService/ListAlerts", Right(P::SystemView), READS),
    ("/quantix.alert.v1.AlertService/AcknowledgeAlert", Right(P::AlertAcknowledge), Audit::Yes),
    ("/quantix.role.v1.RoleService/ListRoles", Need::Person, READS),
    ("/quantix.role.v1.RoleService/CreateRole", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.role.v1.RoleService/UpdateRole", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.role.v1.RoleService/DeleteRole", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.role.v1.RoleService/ListGrants", Right(P::PeopleView), READS),
    ("/quantix.role.v1.RoleService/Grant", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.role.v1.RoleService/Revoke", Right(P::PeopleManage), Audit::Yes),
    ("/quantix.token.v1.ApiTokenService/ListApiTokens", Own, READS),
    ("/quantix.token.v1.ApiTokenService/CreateApiToken", Own, Audit::Yes),
    ("/quantix.token.v1.ApiTokenService/RevokeApiToken", Own, Audit::Yes),
    ("/quantix.audit.v1.AuditService/ListAudit", Right(P::AuditView), READS),
    ("/quantix.audit.v1.AuditService/VerifyAudit", Right(P::AuditView), Audit::Yes),
    ("/quantix.host.v1.HostService/ListHosts", Right(P::HostView), READS),
    ("/quantix.host.v1.HostService/GetHost", Within(P::HostView), READS),
    ("/quantix.host.v1.HostService/ListHostOffers", Right(P::HostManage), READS),
    ("/quantix.host.v1.HostService/ProbeHost", Right(P::HostManage), Audit::Yes),
    ("/quantix.host.v1.HostService/AddHost", Right(P::HostManage), Audit::Yes),
    ("/quantix.host.v1.HostService/RemoveHost", Right(P::HostManage), Audit::Yes),
    ("/quantix.host.v1.HostService/ListDevices", Within(P::HostView), READS),
    ("/quantix.host.v1.HostService/InitialiseDevice", Right(P::HostManage), Audit::Yes),
    ("/quantix.host.v1.HostService/ListLogs", Within(P::HostView), READS),
    ("/quantix.pool.v1.PoolService/ListPools", Within(P::PoolView), READS),
    ("/quantix.pool.v1.PoolService/GetPool", Within(P::PoolView), READS),
    ("/quantix.pool.v1.PoolService/CreatePool", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/AssignPool", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/UnassignPool", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/UpdatePool", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/DeletePool", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/RetryPool", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/DiscoverTargets", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/ListExports", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/ListCephPools", Right(P::PoolManage), Audit::Yes),
    ("/quantix.pool.v1.PoolService/ListFiles", Within(P::FileRead), READS),
    ("/quantix.file.v1.FileService/GetFile", Within(P::FileRead), READS),
    ("/quantix.file.v1.FileService/MakeFolder", Within(P::FileWrite), Audit::Yes),
    ("/quantix.file.v1.FileService/MoveFile", Within(P::FileWrite), Audit::Yes),
    ("/quantix.file.v1.FileService/CopyFile", Within(P::FileWrite), Audit::Yes),
    ("/quantix.file.v1.FileService/DeleteFile", Within(P::FileWrite), Audit::Yes),
    ("/quantix.file.v1.FileService/CreateUpload", Within(P::FileWrite), Audit::Yes),
    ("/quantix.image.v1.ImageService/ListImages", Within(P::ImageView), READS),
    ("/quantix.image.v1.ImageService/GetImage", Within(P::ImageView), READS),
    ("/quantix.image.v1.ImageService/CreateImage", Within(P::ImageManage), Audit::Yes),
    ("/quantix.image.v1.ImageService/DeleteImage", Within(P::ImageManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/ListVolumes", Within(P::VolumeView), READS),
    ("/quantix.volume.v1.VolumeService/GetVolume", Within(P::VolumeView), READS),
    ("/quantix.volume.v1.VolumeService/CreateVolume", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/DeleteVolume", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/GrowVolume", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/FlattenVolume", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/CloneVolume", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/AttachVolume", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/DetachVolume", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/ListSnapshots", Within(P::VolumeView), READS),
    ("/quantix.volume.v1.VolumeService/CreateSnapshot", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/RevertSnapshot", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/DeleteSnapshot", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/ListOrphans", Within(P::VolumeManage), READS),
    ("/quantix.volume.v1.VolumeService/AdoptOrphan", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.volume.v1.VolumeService/DeleteOrphan", Within(P::VolumeManage), Audit::Yes),
    ("/quantix.vm.v1.VmService/ListVms", Within(P::VmView), READS),
    ("/quantix.vm.v1.VmService/GetVm", Within(P::VmView), READS),
    ("/quantix.vm.v1.VmService/ListPlacements", Right(P::VmManage), READS),
    ("/quantix.vm.v1.VmService/CreateVm", Right(P::VmManage), Audit::Yes),
    ("/quantix.vm.v1.VmService/PowerVm", Within(P::VmPower), Audit::Yes),
    ("/quantix.vm.v1.VmService/DeleteVm", Within(P::VmManage), Audit::Yes),
    ("/quantix.vm.v1.VmService/ListDiscoveredVms", Right(P::VmManage), READS),
    ("/quantix.vm.v1.VmService/AdoptVm", Right(P::VmManage), Audit::Yes),
    ("/quantix.vm.v1.VmService/CreateConsoleTicket", Within(P::VmConsole), Audit::Yes),
    ("/quantix.certificate.v1.CertificateService/GetCertificates", Right(P::CertificateView), READS),
    ("/quantix.certificate.v1.CertificateService/UploadCertificate", Right(P::CertificateManage), Audit::Yes),
    ("/quantix.certificate.v1.CertificateService/RemoveCertificate", Right(P::CertificateManage), Audit::Yes),
    ("/quantix.certificate.v1.CertificateService/RotateAuthority", Right(P::CertificateManage), Audit::Yes),
    ("/quantix.join_token.v1.JoinTokenService/CreateJoinToken", Right(P::HostManage), Audit::Yes),
    ("/quantix.join_token.v1.JoinTokenService/ListJoinTokens", Right(P::HostManage), READS),
    ("/quantix.join_token.v1.JoinTokenService/RevokeJoinToken", Right(P::HostManage), Audit::Yes),
    // It shows a join token.
    ("/quantix.join_token.v1.JoinTokenService/Join", Public, Audit::Yes),
    ("/quantix.node.v1.ReportService/Beat", Host, REPORT),
    ("/quantix.node.v1.ReportService/RenewCertificate", Host, Audit::Yes),
];

/// A route: methods, path, need, audit.
pub type RouteRow = (&'static [Method], &'static str, Need, Audit);

/// Every other route but the web app's files. `{…}` stands for one segment.
pub const ROUTES: &[RouteRow] = &[
    (&[Method::GET], "/healthz", Public, Audit::No("it tells nothing")),
    (&[Method::GET], "/readyz", Public, Audit::No("it tells only whether work is taken")),
    // Whoever comes to these has no session yet. What came of it is written down when they come back.
    (&[Method::GET], "/api/v1/sign-in/oidc/callback", Public, Audit::Yes),
    (&[Method::GET], "/api/v1/sign-in/oidc/{source_id}", Public, Audit::Refusals("it only begins")),
    (&[Method::GET], "/api/v1/openapi.json", Need::Person, READS),
    (
        &[Method::HEAD, Method::PATCH, Method::OPTIONS],
        "/api/v1/uploads/{image_id}",
        Need::Person,
        Audit::Refusals("a part of an upload; that it began is written down"),
    ),
    (&[Method::GET], "/api/v1/pools/{pool_id}/files", Within(P::FileRead), Audit::Yes),
    (
        &[Method::GET],
        "/api/v1/console/{ticket}",
        Need::Person,
        Audit::Refusals("that its ticket was made is written down"),
    ),
    (&[Method::GET], "/api/v1/audit", Right(P::AuditView), Audit::Yes),
    (&[Method::GET], "/metrics", Scraper, Audit::No("figures, read over and over")),
    (&[Method::GET], "/api/v1/hosts/{host_id}/metrics", Scraper, Audit::No("figures, read over and over")),
];

/// The row of the web app's files: nothing in them is secret.
const WEB: (Need, Audit) = (Public, Audit::No("the web app's files"));

/// What a request needs and whether it is written down, or `None` when there is no such call.
pub fn row(method: &Method, path: &str) -> Option<(Need, Audit)> {
    if is_web(path) {
        return matches!(*method, Method::GET | Method::HEAD).then_some(WEB);
    }
    if let Some((_, need, audit)) = RPCS.iter().find(|(rpc, ..)| *rpc == path) {
        return matches!(*method, Method::GET | Method::POST).then_some((*need, *audit));
    }
    let row = ROUTES.iter().find(|(methods, pattern, ..)| {
        let read = *method == Method::HEAD && methods.contains(&Method::GET);
        (read || methods.contains(method)) && fits(pattern, path)
    });
    row.map(|(_, _, need, audit)| (*need, *audit))
}

/// Paths that are never the web app's.
pub fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/") || path.starts_with("/quantix.")
}

fn is_web(path: &str) -> bool {
    !is_api(path) && !["/healthz", "/readyz", "/metrics"].contains(&path)
}

/// What a request is counted and written down under: one of the tables' rows, `web` for the web app's files, `unknown`
/// for the rest.
pub fn call_name(path: &str) -> &'static str {
    if is_web(path) {
        return "web";
    }
    let rpc = RPCS.iter().find(|(rpc, ..)| *rpc == path).map(|(rpc, ..)| rpc.trim_start_matches("/quantix."));
    let route =
        || ROUTES.iter().find(|(_, pattern, ..)| fits(pattern, path)).map(|(_, pattern, ..)| *pattern);
    rpc.or_else(route).unwrap_or("unknown")
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(p), Some(s)) if p.starts_with('{') && !s.is_empty() => {}
            (Some(p), Some(s)) if p == s => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_row_is_refused() {
        for (method, path) in [
            (Method::GET, "/api"),
            (Method::GET, "/api/v1"),
            (Method::GET, "/api/v1/uploads"),
            (Method::GET, "/api/v1/uploads/"),
            (Method::PATCH, "/api/v1/uploads/a/b"),
            (Method::POST, "/quantix.session.v1.SessionService/Nothing"),
            (Method::POST, "/quantix.node.v1.NodeService/DeleteVm"),
            (Method::DELETE, "/quantix.session.v1.SessionService/Login"),
            (Method::POST, "/"),
            (Method::POST, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
            (Method::POST, "/healthz"),
            (Method::POST, "/metrics"),
        ] {
            assert_eq!(row(&method, path), None, "{method} {path}");
        }
        assert_eq!(row(&Method::HEAD, "/api/v1/uploads/x").map(|(need, _)| need), Some(Need::Person));
        assert_eq!(row(&Method::GET, "/vms"), Some(WEB));
    }

    #[test]
    fn requests_are_counted_under_few_names() {
        assert_eq!(call_name("/quantix.pool.v1.PoolService/ListPools"), "pool.v1.PoolService/ListPools");
        assert_eq!(call_name("/api/v1/uploads/0190"), "/api/v1/uploads/{image_id}");
        assert_eq!(call_name("/quantix.pool.v1.PoolService/Hostile"), "unknown");
        assert_eq!(call_name("/api/v1/anything/else"), "unknown");
        assert_eq!(call_name("/metrics"), "/metrics");
        assert_eq!(call_name("/vms/0190"), "web");
    }
}
