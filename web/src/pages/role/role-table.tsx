// The roles: those that are always there, then those made here.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { faultOf } from "../../api/fault";
import type { Role } from "../../api/gen/quantix/role/v1/role_pb";
import { useMay } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { FaultPanel } from "../../ui/fault";
import { ActionButton, Empty } from "../../ui/parts";
import { formatCount } from "../../ui/quantity";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { PermissionList } from "./permission-fields";
import { useRoles, useTexts } from "./words";

const RoleDialog = lazy(() => import("./role-dialogs").then((m) => ({ default: m.RoleDialog })));
const DeleteRole = lazy(() => import("./role-dialogs").then((m) => ({ default: m.DeleteRole })));

/** What is needed to change anything here. */
export const MAY_NOT = "You may not change roles and grants: it needs the permission people.manage.";

export function RoleTable() {
  const page = usePageState();
  const mayChange = useMay()("people.manage");
  const query = useRoles();
  const textOf = useTexts();
  const [dialog, setDialog] = useState<{ verb: "change" | "delete"; role: Role }>();
  const close = () => setDialog(undefined);
  const action = (role: Role, verb: string) => ({
    verb,
    allowed: mayChange && !role.builtIn,
    reasonIfNot: role.builtIn ? "This role is always there and stays as it is." : MAY_NOT,
  });
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
          <ActionButton variant="link" action={action(r, "change")} onClick={() => setDialog({ verb: "change", role: r })}>
            Change
          </ActionButton>
          <ActionButton variant="link" action={action(r, "delete")} onClick={() => setDialog({ verb: "delete", role: r })}>
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
        empty={<Empty title="No role" action={<Button onClick={page.openCreate}>Create role</Button>} />}
      />
      <Suspense>
        {page.isCreating && !mayChange && <FaultPanel fault={{ code: "FORBIDDEN", message: MAY_NOT }} onClose={page.closeCreate} />}
        {page.isCreating && mayChange && query.data && <RoleDialog permissions={query.data.permissions} onClose={page.closeCreate} />}
        {dialog?.verb === "change" && <RoleDialog role={dialog.role} permissions={query.data?.permissions ?? []} onClose={close} />}
        {dialog?.verb === "delete" && <DeleteRole role={dialog.role} onClose={close} />}
      </Suspense>
    </>
  );
}
