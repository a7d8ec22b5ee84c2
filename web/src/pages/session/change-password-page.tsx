// Choosing an own password: forced after a one-time one, or from the account menu.
import { Button } from "@patternfly/react-core";
import { zodResolver } from "@hookform/resolvers/zod";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "../../ui/rules";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { SessionService } from "../../api/gen/quantix/session/v1/session_pb";
import { sessionQuery, useSession } from "../../api/session";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { TextField } from "../../ui/field";
import { Wordmark } from "../../ui/wordmark";

const PASSWORD_CHARS_MIN = 12;
const schema = z
  .object({
    current: z.string().min(1, "Enter the password you signed in with."),
    fresh: z.string().min(PASSWORD_CHARS_MIN, `Use ${PASSWORD_CHARS_MIN} characters or more.`),
    again: z.string(),
  })
  .refine((v) => v.fresh !== v.current, { path: ["fresh"], message: "Choose another password than the current one." })
  .refine((v) => v.fresh === v.again, { path: ["again"], message: "The two entries differ." });
type Values = z.infer<typeof schema>;

export function ChangePasswordPage() {
  const { queries, transport } = useApi();
  const client = useClient(SessionService);
  const session = useSession();
  const navigate = useNavigate();
  const [fault, setFault] = useState<FaultView>();
  const form = useForm<Values>({ resolver: zodResolver(schema), defaultValues: { current: "", fresh: "", again: "" } });
  const { errors, isSubmitting } = form.formState;
  const forced = session.data?.mustChangePassword ?? false;
  const submit = form.handleSubmit(async (values) => {
    setFault(undefined);
    try {
      const next = await client.changePassword({ currentPassword: values.current, newPassword: values.fresh });
      queries.setQueryData(sessionQuery(transport).queryKey, next);
      await navigate({ to: "/" });
    } catch (error) {
      setFault(faultOf(error));
    }
  });
  return (
    <main className="q-gate">
      <form className="q-gate__card" onSubmit={(e) => void submit(e)} aria-label="Change password" noValidate>
        <Wordmark />
        <h1>{forced ? "Choose your password" : "Change password"}</h1>
        {forced && <p className="q-muted">The one-time password worked. From now on only you know the new one.</p>}
        <input type="hidden" autoComplete="username" value={session.data?.userName ?? ""} readOnly />
        <TextField label={forced ? "One-time password" : "Current password"} type="password" autoComplete="current-password" autoFocus error={errors.current?.message} {...form.register("current")} />
        <TextField label="New password" type="password" autoComplete="new-password" help={`${PASSWORD_CHARS_MIN} characters or more`} error={errors.fresh?.message} {...form.register("fresh")} />
        <TextField label="New password again" type="password" autoComplete="new-password" error={errors.again?.message} {...form.register("again")} />
        {fault && <FaultPanel fault={fault} />}
        <Button type="submit" isBlock isLoading={isSubmitting} isDisabled={isSubmitting}>
          Change password
        </Button>
        <p className="q-muted q-gate__note">
          Every other session of yours ends with it.
          {!forced && (
            <>
              {" "}
              <Link to="/">Back without changing</Link>
            </>
          )}
        </p>
      </form>
    </main>
  );
}
