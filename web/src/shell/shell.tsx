// The frame around every page: navigation at the left, search and account above, tasks below.
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import BarsIcon from "@patternfly/react-icons/dist/esm/icons/bars-icon";
import { Button } from "@patternfly/react-core";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { useApi, useLine } from "../api/context";
import { Severity } from "../api/gen/quantix/event/v1/event_pb";
import { useOpenAlerts } from "../api/lists";
import { formatDuration, useNow } from "../ui/time";
import { StatusIcon } from "../ui/status";
import { Wordmark } from "../ui/wordmark";
import { useMay } from "../api/session";
import { AccountButton } from "./account-button";
import { PLACES, type Place } from "./places";
import { SearchBox } from "./search-box";
import { TasksBar } from "./tasks-bar";

const Palette = lazy(() => import("./palette").then((m) => ({ default: m.Palette })));

const NAV_KEY = "quantix.nav";
/** More do not fit into the navigation. */
const COUNT_MAX = 999n;

export function Shell() {
  const { watch } = useApi();
  const [narrow, setNarrow] = useState(() => window.localStorage.getItem(NAV_KEY) === "narrow");
  const [paletteOpen, setPaletteOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const path = useRouterState({ select: (s) => s.location.pathname });

  useEffect(() => {
    watch.start();
    return () => watch.stop();
  }, [watch]);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPaletteOpen((open) => !open);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);

  useEffect(() => {
    main.current?.scrollTo(0, 0);
  }, [path]);

  const toggle = () => {
    window.localStorage.setItem(NAV_KEY, narrow ? "wide" : "narrow");
    setNarrow(!narrow);
  };
  return (
    <div className={narrow ? "q-shell q-shell--narrow" : "q-shell"}>
      <a className="q-skip" href="#main">
        Skip to content
      </a>
      <header className="q-top">
        <Button variant="plain" aria-label={narrow ? "Widen navigation" : "Narrow navigation"} aria-expanded={!narrow} icon={<BarsIcon />} onClick={toggle} />
        <Link to="/" className="q-top__home">
          <Wordmark />
        </Link>
        <SearchBox onPalette={() => setPaletteOpen(true)} />
        <AccountButton />
      </header>
      <nav className="q-nav" aria-label="Main">
        <Places places={PLACES.filter((p) => !p.group)} narrow={narrow} />
        <Places places={PLACES.filter((p) => p.group)} narrow={narrow} heading="Administration" />
      </nav>
      <main className="q-main" id="main" ref={main} tabIndex={-1}>
        <LineBanner />
        <Outlet />
      </main>
      <TasksBar />
      {paletteOpen && (
        <Suspense>
          <Palette onClose={() => setPaletteOpen(false)} />
        </Suspense>
      )}
    </div>
  );
}

/** Those places that are open to the person. */
function Places({ places, narrow, heading }: { places: readonly Place[]; narrow: boolean; heading?: string }) {
  const may = useMay();
  const open = places.filter((p) => !p.needs || may(p.needs));
  if (open.length === 0) return null;
  return (
    <>
      {heading && <h2 className="q-nav__group">{heading}</h2>}
      <ul aria-label={heading}>
        {open.map((p) => (
          <li key={p.to}>
            <Link to={p.to} activeOptions={{ exact: p.to === "/", includeSearch: false }} title={narrow ? p.label : undefined}>
              <span aria-hidden="true">{p.icon}</span>
              <span className="q-nav__label">{p.label}</span>
              {p.to === "/alerts" && <OpenAlerts />}
            </Link>
          </li>
        ))}
      </ul>
    </>
  );
}

/** How many alerts nobody looks after yet. */
function OpenAlerts() {
  const { alerts, total } = useOpenAlerts().data ?? { alerts: [], total: 0n };
  if (total === 0n) return null;
  // The worst comes first.
  const isError = alerts[0]?.severity === Severity.ERROR;
  const count = total > COUNT_MAX ? `${COUNT_MAX}+` : String(total);
  return (
    <span className={isError ? "q-nav__count q-nav__count--error" : "q-nav__count"} title={`${total.toLocaleString("en")} that nobody looks after`}>
      {count}
    </span>
  );
}

/** Says that what is on screen may be old, and since when. */
function LineBanner() {
  const line = useLine();
  if (line.kind !== "stale") return null;
  return <StaleBanner since={line.since} />;
}

function StaleBanner({ since }: { since: number }) {
  useNow();
  return (
    <div className="q-banner" role="status">
      <StatusIcon tone="warn" />
      <span>
        The line to the vDC is broken for {formatDuration(Date.now() - since)}. What you see may be old; it catches up by itself once the
        vDC answers.
      </span>
    </div>
  );
}
