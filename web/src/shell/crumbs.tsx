// Where this page stands.
import { Link } from "@tanstack/react-router";

export function Crumbs({ parent, to, here }: { parent: string; to: "/hosts" | "/pools" | "/vms" | "/volumes"; here: string }) {
  return (
    <nav className="q-crumbs" aria-label="Breadcrumb">
      <ol>
        <li>
          <Link to={to}>{parent}</Link>
        </li>
        <li aria-current="page">{here}</li>
      </ol>
    </nav>
  );
}
