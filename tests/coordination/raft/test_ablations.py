"""With one safeguard taken out, a seed notices, and says which guarantee broke; with all in place it notices nothing.

Each was looked for among 300 seeds: how many it takes is one more than the number that its ablation names (`ablated/`), and only
that seed is played here. `python -m tests.coordination.raft.ablations` looks for them anew. Names in brackets are of the pitfalls
of others, in their trackers.
"""

from coordination.raft.entries import Entries
from coordination.raft.raft import Raft
from coordination.raft.values import Entry, Message, Ready, Say
from tests.coordination.raft.ablated.ambushes import Believes, CountsReplicas
from tests.coordination.raft.ablations import SEEDS, all_ablations, keeping, led_by, tried
from tests.coordination.raft.nodes import Nodes, written

WITHOUT_AND_WITH = (True, "")


def test_each_is_found_among_so_many_seeds() -> None:
    """No safeguard needs more than 300 seeds to be missed, and each has a test of its own here."""
    ablations = all_ablations()
    assert [name for name, ablation in ablations.items() if ablation.seed >= SEEDS] == []
    assert [name for name in ablations if f"test_ablation_{name}" not in globals()] == []
    assert len(ablations) >= 20


def test_ablation_vote_durable_before_sent() -> None:
    """A vote that leaves before it is durable is forgotten in a crash, and given twice (PySyncObj 84, 201, PR 202: term and
    vote were lost at a restart, and what was committed was overwritten)."""
    assert tried("vote_durable_before_sent") == WITHOUT_AND_WITH


def test_ablation_log_durable_before_acknowledged() -> None:
    """An entry that is acknowledged before it is durable is counted, and lost in a crash (PySyncObj 84; NATS 7564)."""
    assert tried("log_durable_before_acknowledged") == WITHOUT_AND_WITH


def test_ablation_own_log_durable_before_counted() -> None:
    """A leader that sends before it has written (thesis, section 10.2.1) counts itself only once it has."""
    assert tried("own_log_durable_before_counted") == WITHOUT_AND_WITH


def test_ablation_state_and_log_in_one_transaction() -> None:
    """A commit index that is durable ahead of the log it speaks of keeps a node from starting (PySyncObj PR 197)."""
    assert tried("state_and_log_in_one_transaction") == WITHOUT_AND_WITH


def test_ablation_applied_index_in_the_states_transaction() -> None:
    """An applied index that is written apart from the state lets commands be applied twice (etcd 3.5, postmortem, PR 13967)."""
    assert tried("applied_index_in_the_states_transaction") == WITHOUT_AND_WITH


def test_ablation_only_durable_applied() -> None:
    """What is committed, and not yet in the node's own log on disk, is not applied by it: its disk would know nothing of it."""
    assert tried("only_durable_applied") == WITHOUT_AND_WITH


def test_ablation_one_vote_per_term() -> None:
    """Whoever has voted in a term votes for nobody else in it (paper, section 5.2)."""
    assert tried("one_vote_per_term") == WITHOUT_AND_WITH


def test_ablation_vote_only_if_up_to_date() -> None:
    """A candidate whose log lacks what is committed is not elected (paper, section 5.4.1)."""
    assert tried("vote_only_if_up_to_date") == WITHOUT_AND_WITH


def test_ablation_pre_vote() -> None:
    """A node that was cut off and comes back does not raise the term of a group that is well (thesis, section 9.6)."""
    assert tried("pre_vote") == WITHOUT_AND_WITH


def test_ablation_followers_are_loyal() -> None:
    """Nobody helps to replace a leader that it hears, though another one does not hear it (partial partitions: Cloudflare,
    2020-11-02; thesis, section 4.2.3)."""
    assert tried("followers_are_loyal") == WITHOUT_AND_WITH


def test_ablation_log_matching() -> None:
    """Entries are taken only behind an entry that both logs hold (paper, section 5.3)."""
    assert tried("log_matching") == WITHOUT_AND_WITH


def test_ablation_commit_of_the_verified() -> None:
    """A follower commits only what it has just compared with its leader, not what else lies in its log (paper, figure 2)."""
    assert tried("commit_of_the_verified") == WITHOUT_AND_WITH


def test_ablation_commit_never_beyond_what_a_follower_surely_holds() -> None:
    """A heartbeat, which compares nothing, says no more to be committed than its receiver surely holds."""
    assert tried("commit_never_beyond_what_a_follower_surely_holds") == WITHOUT_AND_WITH


def test_ablation_snapshot_never_takes_back_what_is_committed() -> None:
    """A snapshot that comes late, or twice, does not take back what is committed since (paper, section 7)."""
    assert tried("snapshot_never_takes_back_what_is_committed") == WITHOUT_AND_WITH


def test_ablation_read_quorum() -> None:
    """A read is answered once a majority has confirmed that the leader still leads (thesis, section 6.4)."""
    assert tried("read_quorum") == WITHOUT_AND_WITH


def test_ablation_read_quorum_for_clients() -> None:
    """The same, seen by clients alone: a list that lacks what was acknowledged."""
    assert tried("read_quorum_for_clients") == WITHOUT_AND_WITH


def test_ablation_read_after_an_entry_of_the_own_term() -> None:
    """A leader answers no read before an entry of its own term is committed (etcd 7331; redisraft PR 22)."""
    assert tried("read_after_an_entry_of_the_own_term") == WITHOUT_AND_WITH


def test_ablation_read_names_of_the_leader() -> None:
    """A late answer to an earlier question confirms no later read, whatever ids the askers give (etcd 20418)."""
    assert tried("read_names_of_the_leader") == WITHOUT_AND_WITH


def test_ablation_reads_ask_the_group() -> None:
    """A read that a node answers by itself is stale: the judge of histories finds it."""
    assert tried("reads_ask_the_group") == WITHOUT_AND_WITH


def test_ablation_writes_are_numbered() -> None:
    """A write that is asked for again is applied twice, if its machine does not know its number: the judge finds it (thesis,
    section 6.3)."""
    assert tried("writes_are_numbered") == WITHOUT_AND_WITH


def test_ablation_one_change_at_a_time() -> None:
    """The next change of a group waits until the last one is applied, or two majorities need not meet (thesis, section 4.1)."""
    assert tried("one_change_at_a_time") == WITHOUT_AND_WITH


def test_ablation_learners_do_not_count() -> None:
    """What learners hold counts for no majority: they cannot elect who holds it."""
    assert tried("learners_do_not_count") == WITHOUT_AND_WITH


def test_ablation_a_leader_does_not_take_itself_out() -> None:
    """A leader hands over before it goes: nobody else may know what it has committed (etcd, doc.go: removal of one of two)."""
    assert tried("a_leader_does_not_take_itself_out") == WITHOUT_AND_WITH


def test_ablation_elections_tell_what_is_committed() -> None:
    """Who lost its tail in a crash, and who knows alone that it is no voter any more, wait for each other for ever, if votes do
    not tell what is committed (found by seed 300131; tikv/raft-rs, `maybe_commit_by_vote`)."""
    assert tried("elections_tell_what_is_committed") == WITHOUT_AND_WITH


def test_ablation_a_removed_node_disturbs_nobody() -> None:
    """A node that was taken out while it was away raises no terms and replaces no leader when it is back (thesis, section
    4.2.3)."""
    assert tried("a_removed_node_disturbs_nobody") == WITHOUT_AND_WITH


def test_ablation_check_quorum() -> None:
    """A leader that is heard and hears nobody steps down (thesis, section 6.2; etcd 13527)."""
    assert tried("check_quorum") == WITHOUT_AND_WITH


def test_ablation_disk_stall() -> None:
    """A leader whose disk takes nothing steps down, though its heartbeats are answered (hashicorp/raft 503; consul 22064)."""
    assert tried("disk_stall") == WITHOUT_AND_WITH


def test_ablation_transfer_gives_up() -> None:
    """A transfer that comes to nothing within an election timeout is forgotten, and proposals are taken again (thesis, section
    3.10)."""
    assert tried("transfer_gives_up") == WITHOUT_AND_WITH


def test_ablation_bounded_uncommitted_tail() -> None:
    """Without a majority the tail of a leader is bounded: proposals are refused, and said to be."""
    assert tried("bounded_uncommitted_tail") == WITHOUT_AND_WITH


def test_ablation_bounded_inflight() -> None:
    """What is under way to a peer that does not answer is bounded."""
    assert tried("bounded_inflight") == WITHOUT_AND_WITH


def test_ablation_bounded_reads() -> None:
    """Reads that wait for a majority are bounded."""
    assert tried("bounded_reads") == WITHOUT_AND_WITH


def test_ablation_a_lost_acknowledgement_does_not_close_the_window() -> None:
    """When acknowledgements get lost, the window opens by answers to heartbeats, or it would stay shut for ever."""
    assert tried("a_lost_acknowledgement_does_not_close_the_window") == WITHOUT_AND_WITH


def test_ablation_a_lost_snapshot_is_sent_again() -> None:
    """A snapshot of which nothing is heard is sent again."""
    assert tried("a_lost_snapshot_is_sent_again") == WITHOUT_AND_WITH


def applied_after_the_first_write(log: type[Entries]) -> tuple[list[Entry], list[Entry]]:
    """Three writes are on their way to a disk: of an entry, of what overwrites it, and of the same entry again. What is applied
    once the first is done, and what the disk holds once the second is."""
    node, disk = Nodes("a", "b", "c", make=keeping(log)).a, Nodes("a", "b", "c").disks["a"]
    first, own = Entry(2, 2), Entry(4, 3)
    writes: list[Ready] = []
    for leader, term, entries in (("b", 2, (first,)), ("c", 3, (Entry(3, 2),)), ("b", 4, (first, own))):
        node.step(Message(Say.APPEND, leader, "a", term, 1, 1, entries=entries, commit=3 if term == 4 else 1))
        ready = node.ready()
        assert ready is not None
        writes.append(ready)
    node.advance(writes[0])
    ready = node.ready()
    return list(ready.committed) if ready else [], list(written(written(disk, writes[0]), writes[1]).entries)


def test_ablation_append_aba() -> None:
    """That a write is done says nothing of what has overwritten it since and is still on its way, though the same entry has come
    back (etcd-io/raft, async_storage_writes_append_aba_race)."""
    assert tried("append_aba") == WITHOUT_AND_WITH


def test_append_aba_step_by_step() -> None:
    """The same in the order of events that it takes."""
    applied, on_disk = applied_after_the_first_write(Believes)
    assert (applied, on_disk) == ([Entry(2, 2)], [Entry(3, 2)])
    assert applied_after_the_first_write(Entries) == ([], [Entry(3, 2)])


def figure_8(make: type[Raft]) -> tuple[list[bytes], list[bytes]]:
    """The leader of term 4 replicates an entry of term 2 to a majority and dies; the one with an entry of term 3 takes over. What
    the first has applied, and what the second has."""
    logs = {"a": (1, 2), "b": (1, 2), "c": (1,), "d": (1,), "e": (1, 3)}
    nodes = Nodes("a", "b", "c", "d", "e", logs=logs, term=3, make=make)
    nodes.cut("d", "e")
    nodes.stand("a")
    for voter in "bc":
        nodes.deliver("a", voter)
        nodes.write(voter)
        nodes.deliver(voter, "a")
    nodes.write("a")
    nodes.lose()
    entry = nodes.a.entries.between(2, 3)
    nodes.hear(Say.APPEND, "a", "c", 4, index=2, log_term=1, entries=entry)
    nodes.hear(Say.APPENDED, "b", "a", 4, index=3)
    nodes.hear(Say.APPENDED, "c", "a", 4, index=3)
    nodes.write("a")
    nodes.heal()
    nodes.cut("a")
    nodes.e.campaign()
    nodes.settle()  # It learns of term 4.
    nodes.elect("e")
    return nodes.commands("a"), nodes.commands("e")


def test_ablation_counting_replicas_of_earlier_terms() -> None:
    """An entry of an earlier term is never committed by counting replicas (paper, section 5.4.2, figure 8; logcabin 44): another
    one takes its place."""
    assert tried("counting_replicas_of_earlier_terms") == WITHOUT_AND_WITH


def test_figure_8_step_by_step() -> None:
    """The same in the order of events that the figure shows."""
    assert figure_8(led_by(CountsReplicas)) == ([b"1/2", b"2/3"], [b"1/2", b"3/3"])
    assert figure_8(Raft) == ([], [b"1/2", b"3/3"])
