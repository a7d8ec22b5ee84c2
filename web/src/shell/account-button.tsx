// The button of the account menu. The menu itself loads when somebody turns to the button.
import { Button } from "@patternfly/react-core";
import UserIcon from "@patternfly/react-icons/dist/esm/icons/user-icon";
import { lazy, Suspense, useState } from "react";
import { useSession } from "../api/session";

const load = () => import("./account-menu");
const AccountMenu = lazy(() => load().then((m) => ({ default: m.AccountMenu })));

export function AccountButton() {
  const [wanted, setWanted] = useState(false);
  const session = useSession();
  const button = (
    <Button
      variant="plain"
      icon={<UserIcon />}
      aria-label="Account"
      aria-expanded={false}
      title={session.data?.userName}
      onPointerEnter={() => void load()}
      onFocus={() => void load()}
      onClick={() => setWanted(true)}
    />
  );
  return wanted ? <Suspense fallback={button}>{<AccountMenu />}</Suspense> : button;
}
