// An address that leads nowhere.
import { Link } from "@tanstack/react-router";
import { Empty } from "../ui/parts";

export function NotFoundPage() {
  return (
    <div className="q-lone">
      <Empty title="There is no such page" action={<Link to="/">Go to the dashboard</Link>}>
        The address may be mistyped, or the object was deleted.
      </Empty>
    </div>
  );
}
