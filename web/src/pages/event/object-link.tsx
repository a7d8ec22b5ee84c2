// The thing an event, alert or task is about, as a link where it has a page.
import { Link } from "@tanstack/react-router";

const PAGES = { vm: "/vms/$id", host: "/hosts/$id", pool: "/pools/$id", volume: "/volumes/$id" } as const;

export function ObjectLink({ kind, id, name }: { kind: string; id: string; name: string }) {
  const to = PAGES[kind as keyof typeof PAGES];
  if (kind === "certificate") return <Link to="/certificates">{name || "Certificates"}</Link>;
  if (!to) return <>{name || id}</>;
  return (
    <Link to={to} params={{ id }}>
      {name || id}
    </Link>
  );
}
