// The roles: those that are always there, then those made here.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { faultOf } from "../../api/fault";
import type { Role } from "../../api/gen/quantix/role/v1/role_pb";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { ActionButton, Empty, type Allowed } from "../../ui/parts";
import { formatCount } from "../../ui/quantity";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { PermissionList } from "./permission-fields";
import { useRoles, useTexts } from "./words";

const RoleDialog = lazy(() => import("./role-dialogs").then((m) => ({ default: m.RoleDialog })));
const DeleteRole = lazy(() => import("./role-dialogs").then((m) => ({ default: m.DeleteRole })));

const FIXED: Allowed = { verb: "change", allowed: false, reasonIfNot: "This role is always there and stays as it is." };

export function RoleTable() {
  const page = usePageState();
  const manage = useRight()("people.manage");
  const query = useRoles();
  const textOf = useTexts();
  const [dialog, setDialog] = useState<{ verb: "change" | "delete"; role: Role }>();
  const close = () => setDialog(undefined);
  const action = (role: Role) => (role.builtIn ? FIXED : manage);
  const columns: Column<Role>[] = [
    {
      id: "name",
      header: "Name",
      sort: (r) => r.name,
      cell: (r) => (
        <span className="q-nowrap">
          {r.name} {r.builtIn && <span className="q-muted">· always there</span>}
        </span>
      ),
    },
    { id: "description", header: "What it is for", cell: (r) => r.description || "–" },
    { id: "permissions", header: "May", cell: (r) => <PermissionList words={r.permissions} textOf={textOf} of={`role ${r.name}`} /> },
    {
      id: "grants",
      header: "Who has it",
      cell: (r) =>
        r.grantCount === 0 ? (
          <span className="q-muted">nobody</span>
        ) : (
          <Link to="/roles" search={{ tab: "grants", q: r.name }} aria-label={`${formatCount(r.grantCount, "grant")} of role ${r.name}`}>
            {formatCount(r.grantCount, "grant")}
          </Link>
        ),
    },
    { id: "changed", header: "Changed", cell: (r) => <Age at={r.changedAt && timestampMs(r.changedAt)} /> },
    {
      id: "actions",
      header: "Actions",
      isHeaderHidden: true,
      cell: (r) => (
        <span className="q-nowrap">
          <ActionButton variant="link" action={action(r)} onClick={() => setDialog({ verb: "change", role: r })}>
            Change
          </ActionButton>
          <ActionButton variant="link" action={action(r)} onClick={() => setDialog({ verb: "delete", role: r })}>
            Delete
          </ActionButton>
        </span>
      ),
    },
  ];
  return (
    <>
      <DataTable
        label="Roles"
        rows={query.data?.roles}
        columns={columns}
        rowId={(r) => r.id}
        rowName={(r) => r.name}
        total={query.data?.roles.length}
        sortedByServer
        fault={query.error ? faultOf(query.error) : undefined}
        onRetry={() => void query.refetch()}
        empty={<Empty title="No role" action={<ActionButton isLarge variant="primary" action={manage} onClick={page.openCreate}>Create role</ActionButton>} />}
      />
      <Suspense>
        {page.isCreating && manage.allowed && query.data && <RoleDialog permissions={query.data.permissions} onClose={page.closeCreate} />}
        {dialog?.verb === "change" && <RoleDialog role={dialog.role} permissions={query.data?.permissions ?? []} onClose={close} />}
        {dialog?.verb === "delete" && <DeleteRole role={dialog.role} onClose={close} />}
      </Suspense>
    </>
  );
}
