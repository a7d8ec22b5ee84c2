// An address that leads nowhere, and a person to whom nothing is open.
import { Link } from "@tanstack/react-router";

export function NotFoundPage() {
  return (
    <main className="q-lone q-empty">
      <h1>There is no such page</h1>
      <p>The address may be mistyped, or the object was deleted.</p>
      <Link to="/">Go to the dashboard</Link>
    </main>
  );
}

export function NoRolePage() {
  return (
    <div className="q-empty">
      <h1>Nothing is open to you yet</h1>
      <p>Nobody gave you a role. Ask an administrator for one: they give roles under Administration, Roles. Then load this page again.</p>
    </div>
  );
}
