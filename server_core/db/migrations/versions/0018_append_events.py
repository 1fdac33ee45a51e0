"""Events are numbered and stored by one call: a function of the cell instead of two statements.

Each statement of a volatile function begins anew under READ COMMITTED: the second one sees what was
committed while the first one waited for the head row.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_APPEND = """
CREATE FUNCTION append_events(added new_event[], at_ms bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE written bigint;
BEGIN
  PERFORM seq FROM event_head WHERE id = 0 FOR UPDATE;
  PERFORM pg_notify('hundi_events', '');
  WITH head AS (
    UPDATE event_head SET seq = seq + cardinality(added) WHERE id = 0 RETURNING seq
  )
  INSERT INTO event (seq, id, aggregate_type, aggregate_id, sequence, type, version, payload,
    actor, correlation, causation, recorded_at)
  SELECT head.seq - cardinality(added) + u.place, u.id, u.aggregate_type, u.aggregate_id,
    coalesce((SELECT max(e.sequence) FROM event e WHERE e.aggregate_id = u.aggregate_id), 0)
      + u.step,
    u.type, u.version, u.payload, u.actor, u.correlation, u.causation, at_ms
  FROM head, unnest(added) WITH ORDINALITY
    AS u(id, aggregate_type, aggregate_id, type, version, payload, actor, correlation, causation,
      step, place);
  GET DIAGNOSTICS written = ROW_COUNT;
  RETURN written;
END $$
"""


def upgrade() -> None:
    op.execute(_APPEND)
