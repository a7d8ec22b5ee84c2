// People who may sign in.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { faultOf } from "../../api/fault";
import type { User } from "../../api/gen/quantix/user/v1/user_pb";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { ActionButton, allowedOf, Empty, PageTitle } from "../../ui/parts";
import { RowMenu } from "../../ui/row-menu";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { USER_ORDERS, useUsers } from "./lists";
import type { Verb } from "./user-dialogs";
import { SOURCES, userStatus } from "./words";

const CreateUserDialog = lazy(() => import("./user-dialogs").then((m) => ({ default: m.CreateUserDialog })));
const UserDialog = lazy(() => import("./user-dialogs").then((m) => ({ default: m.UserDialog })));

const WORDS: [Verb, string][] = [
  ["rename", "Rename"],
  ["reset_password", "Reset password"],
  ["clear_factors", "Remove second factors"],
];
const ON: [Verb, string] = ["enable", "Turn on"];
const OFF: [Verb, string] = ["disable", "Turn off"];
const DELETE: [Verb, string] = ["delete", "Delete"];

/** What they may stands with the grants. */
function Roles({ user }: { user: User }) {
  if (user.grantedRoles.length === 0) return <span className="q-muted">none</span>;
  return (
    <Link to="/roles" search={{ tab: "grants", q: user.name }}>
      {user.grantedRoles.join(", ")}
    </Link>
  );
}

function columns(act: (user: User, verb: Verb) => void): Column<User>[] {
  return [
    {
      id: "name",
      header: "Name",
      sort: (u) => u.name,
      cell: (u) => u.name,
    },
    { id: "state", header: "State", cell: (u) => <Status {...userStatus(u)} />, width: "170px" },
    {
      id: "source",
      header: "Comes from",
      cell: (u) => (
        <>
          {u.identitySourceTitle || SOURCES[u.source]}
          {u.identitySourceTitle !== "" && <div className="q-small">{SOURCES[u.source]}</div>}
        </>
      ),
    },
    { id: "roles", header: "Roles", cell: (u) => <Roles user={u} /> },
    { id: "factor", header: "Second factor", cell: (u) => (u.hasSecondFactor ? "Yes" : <span className="q-muted">None</span>) },
    {
      id: "sessions",
      header: "Sessions",
      numeric: true,
      cell: (u) => (
        <Button variant="link" isInline size="sm" aria-label={`${u.sessions} sessions of ${u.name}`} onClick={() => act(u, "sessions")}>
          {u.sessions}
        </Button>
      ),
    },
    { id: "signed-in", header: "Last sign-in", cell: (u) => <Age at={u.signedInAt && timestampMs(u.signedInAt)} /> },
    { id: "created", header: "Created", sort: (u) => (u.createdAt ? timestampMs(u.createdAt) : 0), cell: (u) => <Age at={u.createdAt && timestampMs(u.createdAt)} /> },
    {
      id: "action",
      header: "Actions",
      isHeaderHidden: true,
      cell: (u) => (
        <RowMenu
          of={u.name}
          actions={[...WORDS, u.disabled ? ON : OFF, DELETE].map(([verb, label]) => ({
            label,
            action: allowedOf(u.allowedActions, verb),
            danger: verb === "delete",
            onClick: () => act(u, verb),
          }))}
        />
      ),
    },
  ];
}

export function UsersPage() {
  const page = usePageState();
  const create = useRight()("people.manage");
  const list = useUsers(page);
  const [open, setOpen] = useState<{ user: User; verb: Verb }>();
  const done = () => list.again();
  return (
    <>
      <PageTitle
        title="Users"
        note="Who may sign in. People of a provider or directory appear at their first sign-in."
        actions={
          <ActionButton variant="primary" action={create} onClick={page.openCreate}>
            Create user
          </ActionButton>
        }
      />
      <div className="q-toolbar">
        <Filter label="Filter users by name" value={page.filter} onChange={page.setFilter} />
      </div>
      <DataTable
        label="Users"
        rows={list.rows}
        columns={columns((user, verb) => setOpen({ user, verb }))}
        rowId={(u) => u.id}
        rowName={(u) => u.name}
        sort={page.sort}
        onSort={page.setSort}
        orders={USER_ORDERS}
        total={list.total}
        hasMore={list.hasMore}
        onMore={list.more}
        fault={list.error ? faultOf(list.error) : undefined}
        onRetry={list.again}
        empty={<Empty title={`No user has "${page.filter}" in the name`} />}
      />
      <Suspense>
        {page.isCreating && create.allowed && <CreateUserDialog onDone={done} onClose={page.closeCreate} />}
        {open && <UserDialog user={open.user} verb={open.verb} onDone={done} onClose={() => setOpen(undefined)} />}
      </Suspense>
    </>
  );
}
