// An address that leads nowhere.
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
