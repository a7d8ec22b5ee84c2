// Addresses. Pages load when first visited; what a list shows (filter, sort, tab, open dialog) stands in the URL.
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
  type RouterHistory,
} from "@tanstack/react-router";
import type { Api } from "./api/context";
import { codeOf, faultOf } from "./api/fault";
import { FaultCode } from "./api/gen/quantix/fault/v1/fault_pb";
import { mayOf, sessionQuery, useMay } from "./api/session";
import { DashboardPage } from "./pages/dashboard/dashboard-page";
import { NoRolePage, NotFoundPage } from "./shell/not-found";
import { firstPlace } from "./shell/places";
import { Shell } from "./shell/shell";
import { FaultPanel } from "./ui/fault";

/** What a page may keep in its address. */
const TEXTS = ["q", "sort", "tab", "severity", "path", "object", "actor", "from", "to"] as const;
const FLAGS = ["new", "failed", "everybody", "open", "free"] as const;

/**
 * `severity`: events this bad and worse. `path`: folder in a pool's files. `object` and `actor`: ids, only rows of these.
 * `from` and `to`: days, as 2026-11-21. `new`: the create dialog is open. `open`: only alerts that
 * nobody looks after. `free`: only volumes that no VM has.
 */
export type PageSearch = Partial<Record<(typeof TEXTS)[number], string> & Record<(typeof FLAGS)[number], boolean>>;

function pageSearch(raw: Record<string, unknown>): PageSearch {
  const search: PageSearch = {};
  for (const key of TEXTS) if (typeof raw[key] === "string" && raw[key] !== "") search[key] = raw[key];
  for (const key of FLAGS) if (raw[key] === true) search[key] = true;
  return search;
}

/** Only an address inside the app: never another site. */
export function safeNext(next: unknown): string {
  return typeof next === "string" && /^\/(?![/\\])/.test(next) && !next.startsWith("/login") ? next : "/";
}

function Failed({ error, reset }: { error: unknown; reset: () => void }) {
  return (
    <div className="q-lone">
      <FaultPanel fault={faultOf(error)} onRetry={reset} />
    </div>
  );
}

function Home() {
  return firstPlace(useMay()) === undefined ? <NoRolePage /> : <DashboardPage />;
}

function buildRoutes(api: Api) {
  const root = createRootRoute({ notFoundComponent: NotFoundPage, errorComponent: Failed });
  const login = createRoute({
    getParentRoute: () => root,
    path: "/login",
    component: lazyRouteComponent(() => import("./pages/session/login-page"), "LoginPage"),
    validateSearch: (raw: Record<string, unknown>): { next?: string; fault?: string } => ({
      next: raw["next"] ? safeNext(raw["next"]) : undefined,
      fault: typeof raw["fault"] === "string" && raw["fault"] !== "" ? raw["fault"] : undefined,
    }),
  });
  const change = createRoute({
    getParentRoute: () => root,
    path: "/change-password",
    component: lazyRouteComponent(() => import("./pages/session/change-password-page"), "ChangePasswordPage"),
  });
  const app = createRoute({
    getParentRoute: () => root,
    id: "app",
    component: Shell,
    validateSearch: pageSearch,
    beforeLoad: async ({ location }) => {
      try {
        const session = await api.queries.ensureQueryData(sessionQuery(api.transport));
        if (session.mustChangePassword) throw redirect({ to: "/change-password" });
      } catch (error) {
        if (codeOf(error) === FaultCode.NOT_SIGNED_IN) throw redirect({ to: "/login", search: { next: location.href } });
        throw error;
      }
    },
  });
  const home = createRoute({
    getParentRoute: () => app,
    path: "/",
    component: Home,
    beforeLoad: async () => {
      const to = firstPlace(mayOf(await api.queries.ensureQueryData(sessionQuery(api.transport))));
      if (to !== undefined && to !== "/") throw redirect({ to, replace: true });
    },
  });
  const page = <P extends string>(path: P, component: Parameters<typeof createRoute>[0]["component"]) =>
    createRoute({ getParentRoute: () => app, path, component: component as never });
  return root.addChildren([
    login,
    change,
    app.addChildren([
      home,
      page("/hosts", lazyRouteComponent(() => import("./pages/host/hosts-page"), "HostsPage")),
      page("/hosts/$id", lazyRouteComponent(() => import("./pages/host/host-page"), "HostPage")),
      page("/pools", lazyRouteComponent(() => import("./pages/pool/pools-page"), "PoolsPage")),
      page("/pools/$id", lazyRouteComponent(() => import("./pages/pool/pool-page"), "PoolPage")),
      page("/images", lazyRouteComponent(() => import("./pages/image/images-page"), "ImagesPage")),
      page("/volumes", lazyRouteComponent(() => import("./pages/volume/volumes-page"), "VolumesPage")),
      page("/volumes/$id", lazyRouteComponent(() => import("./pages/volume/volume-page"), "VolumePage")),
      page("/vms", lazyRouteComponent(() => import("./pages/vm/vms-page"), "VmsPage")),
      page("/vms/$id", lazyRouteComponent(() => import("./pages/vm/vm-page"), "VmPage")),
      page("/certificates", lazyRouteComponent(() => import("./pages/certificate/certificates-page"), "CertificatesPage")),
      page("/alerts", lazyRouteComponent(() => import("./pages/event/alerts-page"), "AlertsPage")),
      page("/events", lazyRouteComponent(() => import("./pages/event/events-page"), "EventsPage")),
      page("/sign-in", lazyRouteComponent(() => import("./pages/identity/identity-page"), "IdentityPage")),
      page("/users", lazyRouteComponent(() => import("./pages/user/users-page"), "UsersPage")),
      page("/account", lazyRouteComponent(() => import("./pages/account/account-page"), "AccountPage")),
      page("/roles", lazyRouteComponent(() => import("./pages/role/roles-page"), "RolesPage")),
      page("/tokens", lazyRouteComponent(() => import("./pages/token/tokens-page"), "TokensPage")),
      page("/audit", lazyRouteComponent(() => import("./pages/audit/audit-page"), "AuditPage")),
      page("/tasks", lazyRouteComponent(() => import("./pages/task/tasks-page"), "TasksPage")),
    ]),
  ]);
}

export function createAppRouter(api: Api, history?: RouterHistory) {
  return createRouter({ routeTree: buildRoutes(api), history, defaultPreload: "intent", defaultPreloadStaleTime: 0 });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }
}
