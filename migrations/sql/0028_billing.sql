-- The account at Stripe, with its mode, that everything mirrored here belongs to. There is one at a time.

-- Its id, or null. The default of columns, so that every mirrored row says whose it is.
CREATE OR REPLACE FUNCTION app.billing_account() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT id FROM app.billing_accounts WHERE left_at IS NULL;
END;

-- Note the account and the mode of a key, where they are not known yet; a null account is one that the key may not read.
CREATE OR REPLACE FUNCTION app.bind_billing_account(p_account text, p_livemode boolean) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found app.billing_accounts;
BEGIN
    INSERT INTO app.billing_accounts (account, livemode) VALUES (p_account, p_livemode) ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT found FROM app.billing_accounts WHERE left_at IS NULL FOR UPDATE;
    IF found.account <> p_account OR found.livemode <> p_livemode THEN
        RAISE EXCEPTION 'plans are sold at another account at Stripe' USING ERRCODE = 'unique_violation';
    END IF;
    UPDATE app.billing_accounts SET account = coalesce(account, p_account), livemode = coalesce(livemode, p_livemode)
    WHERE id = found.id;
    RETURN found.id;
END $$;
