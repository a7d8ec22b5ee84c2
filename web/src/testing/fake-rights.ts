// The part of the vDC in memory that says who may do what, and who did what.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type { AuditRow, ListAuditRequest, VerifyAuditResponseSchema } from "../api/gen/quantix/audit/v1/audit_pb";
import { FaultCode } from "../api/gen/quantix/fault/v1/fault_pb";
import { GrantViewSchema, RoleSchema, type CreateRoleRequest, type DeleteRoleRequest, type GrantRequest, type GrantView, type RevokeRequest, type Role, type UpdateRoleRequest } from "../api/gen/quantix/role/v1/role_pb";
import { ApiTokenSchema, type ApiToken, type CreateApiTokenRequest, type ListApiTokensRequest, type RevokeApiTokenRequest } from "../api/gen/quantix/token/v1/token_pb";
import { refusal } from "./refusal";

/** The vDC's own words and texts. */
export const PERMISSIONS: [string, string][] = [
  ["system.view", "see the dashboard, alerts and all events and tasks"],
  ["alert.acknowledge", "acknowledge alerts"],
  ["task.cancel", "cancel tasks of other people"],
  ["host.view", "see hosts, their disks and their logs"],
  ["host.manage", "add, change and remove hosts, initialise disks"],
  ["pool.view", "see pools"],
  ["pool.manage", "create, change, assign and delete pools"],
  ["file.read", "list and download files of pools"],
  ["file.write", "upload, move and delete files of pools"],
  ["image.view", "see images"],
  ["image.manage", "upload and delete images"],
  ["volume.view", "see volumes and snapshots"],
  ["volume.manage", "create, grow, clone, attach, snapshot and delete volumes"],
  ["vm.view", "see VMs"],
  ["vm.power", "start, stop and pause VMs"],
  ["vm.console", "open consoles of VMs"],
  ["vm.manage", "create, change, adopt and delete VMs"],
  ["people.view", "see people, their roles and their sessions"],
  ["people.manage", "make and change people, roles and grants, end sessions"],
  ["audit.view", "read, check and export the audit log"],
  ["certificate.view", "see certificates"],
  ["certificate.manage", "upload certificates and rotate the authority"],
  ["setting.manage", "change settings of the vDC"],
];
const ALL = PERMISSIONS.map(([word]) => word);

const isIt = (r: GrantRequest | RevokeRequest) => (g: GrantView) => g.userId === r.userId && g.role === r.role && g.scope?.kind === r.scope?.kind && g.scope?.id === r.scope?.id;

export class FakeRights {
  /** What the one who is signed in may: everything, unless a test says otherwise. */
  permissions = ALL;
  permissionsSomewhere: string[] = [];
  roles: Role[] = [create(RoleSchema, { id: "admin", name: "admin", description: "Everything", permissions: ALL, builtIn: true })];
  grants: GrantView[] = [create(GrantViewSchema, { userId: "user-admin", userName: "admin", role: "admin", roleName: "admin", scope: { kind: "everything" }, createdBy: "first start" })];
  apiTokens: ApiToken[] = [];
  askedTokens: CreateApiTokenRequest[] = [];
  /** Newest first. */
  audit: AuditRow[] = [];
  askedAudit: ListAuditRequest[] = [];
  verdict: MessageInitShape<typeof VerifyAuditResponseSchema> = {};
  #guard: <T>(answer: () => T) => T;

  constructor(guard: <T>(answer: () => T) => T) {
    this.#guard = guard;
  }

  #needs<T>(permission: string, answer: () => T): T {
    return this.#guard(() => {
      if (this.permissions.includes(permission)) return answer();
      const text = PERMISSIONS.find(([word]) => word === permission)?.[1];
      throw refusal(Code.PermissionDenied, {
        code: FaultCode.FORBIDDEN,
        message: `You may not ${text} here.`,
        cause: `it needs the permission ${permission}`,
        remedy: "Ask an administrator for a role that allows it.",
      });
    });
  }

  #counted(role: Role): Role {
    return { ...role, grantCount: this.grants.filter((g) => g.role === role.id).length };
  }

  #write(id: string, wish: CreateRoleRequest | UpdateRoleRequest): Role {
    const role = create(RoleSchema, { id, name: wish.name, description: wish.description, permissions: wish.permissions, changedAt: timestampFromMs(Date.now()) });
    this.roles = [...this.roles.filter((r) => r.id !== id), role];
    return this.#counted(role);
  }

  #delete(id: string) {
    const having = this.grants.filter((g) => g.role === id);
    if (having.length > 0) {
      throw refusal(Code.FailedPrecondition, {
        code: FaultCode.ROLE_IN_USE,
        message: `${having.length} people have the role ${having[0]?.roleName}.`,
        cause: having.map((g) => g.userName).join(", "),
        remedy: "Take it from them first.",
      });
    }
    this.roles = this.roles.filter((r) => r.id !== id);
    return {};
  }

  role() {
    return {
      listRoles: () => this.#guard(() => ({ roles: this.roles.map((r) => this.#counted(r)), permissions: PERMISSIONS.map(([word, text]) => ({ word, text })) })),
      createRole: (r: CreateRoleRequest) => this.#needs("people.manage", () => this.#write(`role-${this.roles.length}`, r)),
      updateRole: (r: UpdateRoleRequest) => this.#needs("people.manage", () => this.#write(r.id, r)),
      deleteRole: (r: DeleteRoleRequest) => this.#needs("people.manage", () => this.#delete(r.id)),
      listGrants: () => this.#needs("people.view", () => ({ grants: this.grants })),
      grant: (r: GrantRequest) =>
        this.#needs("people.manage", () => {
          const userName = this.grants.find((g) => g.userId === r.userId)?.userName ?? r.userId;
          const roleName = this.roles.find((role) => role.id === r.role)?.name ?? r.role;
          const scope = { kind: r.scope?.kind, id: r.scope?.id, name: r.scope?.id.replace("id-", "") };
          this.grants = [...this.grants, create(GrantViewSchema, { userId: r.userId, userName, role: r.role, roleName, scope, createdAt: timestampFromMs(Date.now()), createdBy: "admin" })];
          return { grants: this.grants };
        }),
      revoke: (r: RevokeRequest) =>
        this.#needs("people.manage", () => {
          const rest = this.grants.filter((g) => !isIt(r)(g));
          if (!rest.some((g) => g.role === "admin" && g.scope?.kind === "everything")) {
            throw refusal(Code.FailedPrecondition, { code: FaultCode.LAST_ADMIN, message: "Nobody would be left who may do everything.", remedy: "Give somebody else the role admin first." });
          }
          this.grants = rest;
          return { grants: rest };
        }),
    };
  }

  token() {
    return {
      listApiTokens: (r: ListApiTokensRequest) => this.#guard(() => ({ tokens: this.apiTokens.filter((t) => r.everybody || t.userId === "user-admin") })),
      createApiToken: (r: CreateApiTokenRequest) =>
        this.#guard(() => {
          this.askedTokens.push(r);
          const apiToken = create(ApiTokenSchema, { id: `token-${this.apiTokens.length}`, name: r.name, userId: "user-admin", userName: "admin", start: "qx_abcdef", permissions: r.permissions, scope: r.scope });
          this.apiTokens.push(apiToken);
          return { apiToken, secret: "qx_abcdefSECRET" };
        }),
      revokeApiToken: (r: RevokeApiTokenRequest) => this.#guard(() => ((this.apiTokens = this.apiTokens.filter((t) => t.id !== r.id)), {})),
    };
  }

  #rows(r: ListAuditRequest) {
    this.askedAudit.push(r);
    const fits = this.audit.filter((row) => {
      const at = row.at ? timestampMs(row.at) : 0;
      const words = [row.actorName, row.address, row.action, row.result, row.detail, row.objectName].join(" ").toLowerCase();
      const isIn = (!r.from || at >= timestampMs(r.from)) && (!r.to || at < timestampMs(r.to));
      return isIn && words.includes(r.filter.toLowerCase()) && (!r.failed || row.result !== "OK") && (!r.objectId || row.objectId === r.objectId) && (!r.actorId || row.actorId === r.actorId);
    });
    const from = Number(r.pageToken || "0");
    const rows = fits.slice(from, from + r.pageSize);
    return { rows, nextPageToken: from + rows.length < fits.length ? String(from + rows.length) : "", total: BigInt(fits.length), keepDays: 400 };
  }

  auditLog() {
    return {
      listAudit: (r: ListAuditRequest) => this.#needs("audit.view", () => this.#rows(r)),
      verifyAudit: () => this.#needs("audit.view", () => this.verdict),
    };
  }
}
