/* SPDX-License-Identifier: Apache-2.0
 *
 * Custody of one server's key, for spin.
 *
 * doc/source/contributor/custody.rst has the steps C1-C12, the words and the
 * tables; this is the same in Promela, and a step here cites its number.
 * korora_tools/prove/model.py has the configurations, and runs them.
 *
 * Who is there
 *   V          the service: its database `db` (which can go back in time), and
 *              the anchor. One call is one step, but for the window between
 *              its commit and its anchor, in which V may crash, and in which
 *              other workers serve other calls.
 *   Copy       a record of a host's vault, and the agent that minds it.
 *   Nova       conductor, bus, both nova-computes and libvirt: starts, streams,
 *              fails, loses libvirt's Finish, dies in between, and calls S
 *              before D is ready. The first migrations may be cold ones: the
 *              guest is off while its disks are copied, then Nova goes on at D
 *              or is back at S. A revert is a cold one from where it is.
 *   Faults     crashes, reboots, restorations, lost trust; counted down, so
 *              that every run ends.
 *   Liar       root of the host LIAR: says any word, asks for anything, holds
 *              back what it has, keeps copies of what it erased. It cannot
 *              sign for V, nor for another host's TPM.
 *   Monitor    runs when nothing else can: the operator, and the end states.
 *
 * What is signed stays in `doc`, and whoever has one can show it at any time:
 * replay needs no step of its own. A call that was sent may arrive late, or
 * twice (its sender repeats it while it sees no answer), or never.
 *
 * Every check that a mutation removes is a macro of `checks`, and stands there
 * alone. Ghosts (`g_`) are what no party knows; only properties read them.
 */

/* -- bounds, set by model.py --------------------------------------------- */

#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef SLOTS
#define SLOTS 1         /* records of a vault for this server */
#endif
#ifndef MIGS
#define MIGS 1          /* migrations that Nova starts */
#endif
#ifndef COLDS
#define COLDS 0         /* of these, the first ones, are cold */
#endif
#ifndef CRASHES
#define CRASHES 0       /* of an agent, with what it was doing */
#endif
#ifndef REBOOTS
#define REBOOTS 0       /* of a host */
#endif
#ifndef VCRASHES
#define VCRASHES 0      /* of V between commit and anchor */
#endif
#ifndef LOSSES
#define LOSSES 0        /* answers of V that are lost */
#endif
#ifndef DELAYS
#define DELAYS 0        /* calls that arrive when their sender has given up */
#endif
#ifndef RESTORES
#define RESTORES 0      /* of V's database */
#endif
#ifndef COPIES
#define COPIES 1        /* of V's database that can be restored */
#endif
#ifndef DEATHS
#define DEATHS 0        /* of the guest; it can be started again */
#endif
#ifndef FINISHES
#define FINISHES 0      /* of libvirt's protocol that are lost: two domains */
#endif
#ifndef DISTRUSTS
#define DISTRUSTS 0     /* a host's appraisal turns contraindicated */
#endif
#ifndef REISSUES
#define REISSUES 0      /* an operator takes the key from its holder */
#endif
#ifndef STARTS
#define STARTS 0        /* of a server that has no key yet (or again) */
#endif
#ifndef OPERATORS
#define OPERATORS 0     /* decisions of an operator */
#endif
#ifndef LIES
#define LIES 0
#endif
#ifndef LIAR
#define LIAR NOBODY
#endif
#ifndef NDOC
#define NDOC 12
#endif

#define S 0
#define D 1
#define E 2
#define NOBODY 3

/* -- words ---------------------------------------------------------------- */

/* documents */
#define GRANT 1
#define PERMIT 2
#define START 3
#define RECEIPT 4

/* outcomes */
#define COMMITTED 1
#define ABORTED 2
#define RELEASED 3

/* states of a record */
#define NONE 0
#define CLAIMING 1
#define HELD 2
#define OUTGOING 3
#define STARTING 4
#define MOVING 5
#define RECEIVING 6
#define INCOMING 7
#define RELINQUISHED 8

/* words of S, words of D */
#define SILENT 0
#define NEVER_STARTED 1
#define KEPT 2
#define ENDED_HERE 3
#define STREAM_COMPLETED 4
#define NO_DOMAIN 5
#define ACTIVATED 6

/* calls */
#define CLAIM 1
#define RECEIVE 2       /* C2 */
#define SEND 3          /* C4 */
#define SEALED 4        /* C6 */
#define BEGIN 5         /* C7 */
#define TELL 6          /* C8 */
#define APPROVE 7       /* C10 */
#define ATTEST 8        /* C11, C12 */

/* the driver of a migration, on S */
#define PREPARING 1
#define CALLING 2       /* the agent agreed; libvirt is about to be called */
#define STREAMING 3     /* cold: the guest is off, and being copied */
#define ORPHAN 4        /* the stream goes on without nova-compute */
#define SUCCEEDED 5
#define FAILED 6        /* or will not be called any more */
#define UNKNOWN 7       /* the stream ended, and nobody saw how */

/* a domain */
#define RUNNING 2
#define PAUSED 1        /* D's, while the stream is on */

/* -- what is there -------------------------------------------------------- */

typedef Doc {
    byte kind; byte ver; byte prev; byte mig;
    byte holder; byte epoch; bool pending;     /* the row after it */
    byte out; byte s; byte d; byte se; byte de;
    bool begun;         /* of a receipt: after a start */
    bool resolved;      /* of a receipt: by an operator */
    byte sw; byte dw;   /* of a receipt: the last words of both ends */
    bool g_fresh;       /* both ends were appraised for this migration */
};
Doc doc[NDOC];
byte ndocs;             /* the last one signed; doc[0] is "no document" */

typedef Db {
    byte top;           /* the newest document: the row */
    short docs;         /* all of them, one bit each */
    byte receiving;     /* the migration that D has announced (C2) */
    byte sealed;        /* the migration that D has sealed for (C6) */
    byte mig; byte sw; byte dw; /* its words */
};
Db db;
#if RESTORES
Db copy[COPIES];
byte ncopies;
#endif
byte anchor;            /* the newest document, as the anchor has it */
byte answering;         /* committed, not answered yet */
byte answerto;
#ifdef FILE_ANCHOR
byte heard;             /* hosts that have reported since V started */
#endif

typedef Record { byte st; byte epoch; byte mig; byte seen; };
Record rec[HOSTS * SLOTS];
short has[HOSTS];       /* documents that the host keeps */
#define latest(h, m) known[(h) * (MIGS + 1) + (m)]
byte known[HOSTS * (MIGS + 1)]; /* the newest receipt that it keeps */
short concern[HOSTS];   /* documents that it should have */
byte home;              /* the host that has the server, as Nova says */
byte starts = STARTS;   /* of a server without a key */
bool trusted[HOSTS];
byte dom[HOSTS];        /* what libvirt shows */
byte secret[HOSTS];     /* migration for which libvirt has the secret */

byte drv[MIGS + 1];
byte src[MIGS + 1];
byte dst[MIGS + 1];
bool asked[MIGS + 1];   /* a wrap is being served by S, single flight (C3) */
bool alive[MIGS + 1];   /* D's thread, with its MSK */
bool tried[MIGS + 1];
byte acked[MIGS + 1];   /* the word of S that V has answered, or that the
                         * guest is here */
bool wrapme[MIGS + 1];  /* D's request is on the bus */
short transfers;        /* on the bus, by permit */

byte crashes = CRASHES, reboots = REBOOTS, vcrashes = VCRASHES;
byte losses = LOSSES, delays = DELAYS, restores = RESTORES;
byte deaths = DEATHS, finishes = FINISHES, distrusts = DISTRUSTS;
byte reissues = REISSUES, lies = LIES, operators = OPERATORS;

byte g_newest;          /* newest document that has left V */
byte g_opened;          /* newest epoch that was approved, and for whom */
byte g_opener = NOBODY;
byte g_double;          /* libvirt lost its Finish: two domains, for a while */
bool g_died;            /* the guest, other than by a fault of custody */
short g_had[HOSTS];     /* epochs of which root has kept a copy */
#if SLOTS > 1
byte g_under[HOSTS];    /* epoch of the domain */
#endif

chan call = [0] of { byte, byte, byte, byte };
chan late = [1] of { byte, byte, byte, byte };

#define bit(x) (1 << (x))
#define keeps(h, x) ((has[h] >> (x)) & 1)
#define honest(h) ((h) != LIAR)
#define over(m) (drv[m] >= SUCCEEDED)
#define cold(m) ((m) && (m) <= COLDS)
#define version(x) doc[x].ver
#define row doc[db.top]
#define decided (row.kind == RECEIPT)
#define started (row.begun || row.kind == START)
#define sword (db.mig == row.mig -> db.sw : SILENT)
#define dword (db.mig == row.mig -> db.dw : SILENT)

#if HOSTS > 2
#define off (!dom[0] && !dom[1] && !dom[2])
#define nobody_keeps(x) (!keeps(0, x) && !keeps(1, x) && !keeps(2, x))
#else
#define nobody_keeps(x) (!keeps(0, x) && !keeps(1, x))
#define off (!dom[0] && !dom[1])
#endif

#define have(h, e) \
    ((rec[(h) * SLOTS].st && rec[(h) * SLOTS].epoch == (e)) || \
    (rec[(h) * SLOTS + SLOTS - 1].st && \
     rec[(h) * SLOTS + SLOTS - 1].epoch == (e)))

/* -- checks --------------------------------------------------------------- */

/* The row is below its anchor, or beside it. */
#if defined(MUTATE_BEHIND)
#define behind false
#elif defined(MUTATE_ANCHOR_DIGEST)
#define behind (version(db.top) < version(anchor))
#else
#define behind (version(db.top) < version(anchor) || \
    (version(db.top) == version(anchor) && db.top != anchor))
#endif

/* Whoever reads a row ahead of its anchor raises the anchor first. */
#ifdef MUTATE_RAISE_ON_READ
#define read_row() skip
#else
#define read_row() \
    if \
    :: version(db.top) > version(anchor) -> anchor = db.top \
    :: else \
    fi
#endif

/* Commit, raise, answer. */
#ifdef MUTATE_RAISE_BEFORE_ANSWER
#define raise_anchor() skip
#else
#define raise_anchor() \
    if \
    :: version(answering) > version(anchor) -> anchor = answering \
    :: else \
    fi
#endif

#if defined(FILE_ANCHOR) && !defined(MUTATE_HOSTS_UNHEARD)
#define unheard (heard != (1 << HOSTS) - 1)
#else
#define unheard false
#endif

#define frozen (behind || unheard)

/* C1 */
#ifdef MUTATE_CLAIM_NO_HOLDER
#define no_holder true
#else
#define no_holder (row.holder == NOBODY && !row.pending)
#endif
#define nova_has(h) (home == (h))
#define granted(h, n) (row.kind == GRANT && row.holder == (h) && row.de == (n))

/* C3: own Nova announced it. */
#define announced(h, m) (src[m] == (h) && drv[m] == PREPARING)

/* C4 */
#ifdef MUTATE_RECEIVED
#define received(m) true
#else
#define received(m) (db.receiving == (m))
#endif
#define nova_says_dest(h, m) (dst[m] == (h))
#define not_pending (!row.pending)
#ifdef MUTATE_SPENT
#define unspent(m) true
#else
#define unspent(m) (row.mig != (m))
#endif
#define permitted(m) (row.kind == PERMIT && row.mig == (m))

/* C4, at S: the permit is that of the migration it is asked for. */
#define permit_of(x, m) (doc[x].mig == (m))

/* C7 */
#ifdef MUTATE_SEALED
#define sealed(m) true
#else
#define sealed(m) (db.sealed == (m))
#endif
#define startable(m) (row.mig == (m) && row.kind == PERMIT)
#ifdef MUTATE_AFFIRMING_NOW
#define affirming_now(h) true
#else
#define affirming_now(h) trusted[h]
#endif
#define stream_may(h, x) keeps(h, x)

/* C8 */
#ifdef MUTATE_STATEMENT_NOT_ALLOWED
#define allowed(w) true
#else
#define allowed(w) \
    (decided || (w) != STREAM_COMPLETED && (w) != ACTIVATED)
#endif
#ifdef MUTATE_BOTH_WORDS
#define need(w) true
#else
#define need(w) ((w) != SILENT)
#endif
#ifdef MUTATE_CONTRADICTION
#define contradicting(s, d) false
#else
#define contradicting(s, d) (started -> \
    ((s) == NEVER_STARTED || (s) == KEPT) && (d) == ACTIVATED : \
    (s) == STREAM_COMPLETED || (d) == ACTIVATED)
#endif
/* What the other end may have acted on: S has given its own away; D ran it,
 * and S does not contradict that. */
#ifdef MUTATE_FINAL_WORD
#define given_away false
#define has_run false
#else
#define given_away (sword == STREAM_COMPLETED)
#define has_run (dword == ACTIVATED && !contradicting(sword, dword))
#endif
#define takes(w) ((w) >= NO_DOMAIN -> !has_run : !given_away)
#define closed (decided && ( \
    (row.out == COMMITTED && (sword == STREAM_COMPLETED && dword || \
     sword == ENDED_HERE && dword == ACTIVATED)) || \
    (row.out == ABORTED && dword == NO_DOMAIN && \
     (sword == NEVER_STARTED || sword == KEPT || sword == ENDED_HERE))))
#define of_row(m) (row.mig == (m))

/* In a cold migration S sees no guest, and may for hours: Nova says when it
 * is over. */
#ifdef MUTATE_COLD_SOURCE
#define seen_to_end(m) (cold(m) && drv[m] >= STREAMING)
#else
#define seen_to_end(m) false
#endif
/* D waits for what S says, or Nova's next act here. */
#define s_stays(m) (of_row(m) && sword && sword <= ENDED_HERE)
#ifdef MUTATE_COLD_DEST
#define gives_up(h, m) (!alive[m] || over(m))
#else
#define gives_up(h, m) (cold(m) -> s_stays(m) : !alive[m] || over(m))
#endif
#define nova_finishes(h, m) \
    (cold(m) && drv[m] == SUCCEEDED && home == (h))

/* C9 */
#ifdef MUTATE_SOURCE_DOMAIN
#define source_gone(h) true
#else
#define source_gone(h) (dom[h] == 0 || later(h, r))
#endif
#ifdef MUTATE_DEST_DOMAIN
#define dest_gone(h) true
#else
#define dest_gone(h) (dom[h] == 0 || later(h, r))
#endif
#define receipt_of(r, e) (rec[r].epoch == (e))
#define newer_than_record(r, x) (version(x) > rec[r].seen && \
    (doc[x].kind != RECEIPT || latest(h, doc[x].mig) == x))
/* The guest is not here, after the word that it is. */
#define told(x) (doc[x].resolved || acked[doc[x].mig] == SILENT || \
    acked[doc[x].mig] >= ENDED_HERE)
/* A domain here is of a later key. */
#if SLOTS > 1
#define later(h, r) \
    (rec[(h) * SLOTS].epoch > rec[r].epoch || \
    rec[(h) * SLOTS + 1].epoch > rec[r].epoch)
#define under(h, e) (g_under[h] == (e))
#define runs_under(h, e) g_under[h] = e
#else
#define later(h, r) false
#define under(h, e) true
#define runs_under(h, e) skip
#endif

/* C10 */
#ifdef MUTATE_HOLDER
#define holds(h) true
#else
#define holds(h) (row.holder == (h))
#endif
#ifdef MUTATE_EPOCH
#define of_epoch(e) true
#else
#define of_epoch(e) (row.epoch == (e))
#endif
#ifdef MUTATE_APPROVE_PENDING
#define settled true
#else
#define settled (!row.pending)
#endif
#define disputed (row.mig && contradicting(sword, dword))
#ifdef MUTATE_APPROVE_DISPUTED
#define undisputed true
#else
#define undisputed (!disputed)
#endif

/* C11 */
#ifdef MUTATE_TELL_BEHIND
#define tells true
#else
#define tells (!behind)
#endif

/* C12 */
#ifdef MUTATE_WORDS_OF_RECEIPT
#define taken_words() db.sw = SILENT; db.dw = SILENT
#else
#define taken_words() db.sw = row.sw; db.dw = row.dw
#endif
#define newer(x) (version(x) > version(db.top) || (x) == anchor)

/* -- V -------------------------------------------------------------------- */

/* What is true of every document that V signs, whatever made it. */
inline audit(x) {
    p = doc[x].prev;
    assert(doc[x].ver == doc[p].ver + 1);
    if
    :: doc[x].kind == GRANT ->
        assert(doc[p].holder == NOBODY && !doc[p].pending)      /* I3 */
    :: doc[x].kind == PERMIT ->
        assert(doc[p].holder == doc[x].s && !doc[p].pending);   /* I3 */
        assert(doc[x].de > doc[p].epoch);
        assert(doc[p].mig != doc[x].mig)                        /* I17 */
    :: doc[x].kind == START ->
        assert(doc[p].kind == PERMIT && doc[p].mig == doc[x].mig);
        assert(!honest(doc[x].d) || have(doc[x].d, doc[x].de))  /* I16 */
    :: doc[x].kind == RECEIPT && doc[x].mig ->
        assert(doc[p].mig == doc[x].mig);
        assert(doc[p].pending || doc[p].out != doc[x].out ||
            doc[x].resolved);                                   /* I17 */
        if
        :: doc[x].resolved
        :: else ->
            /* I16: no commit but after the start, which S asked for; no
             * abort after it but by both. */
            assert(doc[x].out != COMMITTED || doc[x].begun);
            assert(doc[x].out != ABORTED || !doc[x].begun ||
                (doc[x].dw == NO_DOMAIN && doc[x].sw != SILENT));
            assert(doc[x].out != COMMITTED || !((doc[x].sw == KEPT ||
                doc[x].sw == NEVER_STARTED) && doc[x].dw == ACTIVATED));
            /* The key of a cold one goes where Nova goes on. */
            assert(!cold(doc[x].mig) || LIAR != NOBODY ||
                (doc[x].out == COMMITTED) == (drv[doc[x].mig] == SUCCEEDED))
        fi
    :: else
    fi;
    p = 0
}

/* Commit a document that follows the row. */
inline sign(what, host) {
    assert(ndocs < NDOC - 1);
    ndocs++;
    doc[ndocs].kind = what;
    doc[ndocs].prev = db.top;
    doc[ndocs].ver = row.ver + 1;
    if
    :: what == GRANT ->
        doc[ndocs].holder = h;
        doc[ndocs].epoch = row.ver + 1;
        doc[ndocs].s = NOBODY; doc[ndocs].d = NOBODY; doc[ndocs].de = w
    :: what == PERMIT ->
        doc[ndocs].holder = row.holder;
        doc[ndocs].epoch = row.epoch;
        doc[ndocs].pending = true;
        doc[ndocs].mig = m; doc[ndocs].s = h; doc[ndocs].d = dst[m];
        doc[ndocs].se = row.epoch; doc[ndocs].de = row.ver + 1;
        doc[ndocs].g_fresh = (db.receiving == m);
        db.mig = m; db.sw = SILENT; db.dw = SILENT
    :: else ->
        doc[ndocs].mig = row.mig; doc[ndocs].s = row.s; doc[ndocs].d = row.d;
        doc[ndocs].se = row.se; doc[ndocs].de = row.de;
        doc[ndocs].begun = (started || what == START);
        doc[ndocs].holder = row.holder;
        doc[ndocs].epoch = row.epoch;
        doc[ndocs].pending = (what == START);
        if
        :: what == RECEIPT ->
            doc[ndocs].out = o;
            doc[ndocs].sw = sword; doc[ndocs].dw = dword;
            if
            :: o == COMMITTED ->
                doc[ndocs].holder = row.d; doc[ndocs].epoch = row.de
            :: o == ABORTED ->
                doc[ndocs].holder = row.s; doc[ndocs].epoch = row.se
            :: o == RELEASED ->
                doc[ndocs].mig = 0;
                doc[ndocs].s = row.holder; doc[ndocs].se = row.epoch;
                doc[ndocs].d = NOBODY; doc[ndocs].de = 0;
                doc[ndocs].holder = NOBODY
            fi
        :: else
        fi
    fi;
    if
    :: doc[ndocs].s != NOBODY ->
        concern[doc[ndocs].s] = concern[doc[ndocs].s] | bit(ndocs)
    :: else
    fi;
    if
    :: doc[ndocs].d != NOBODY ->
        concern[doc[ndocs].d] = concern[doc[ndocs].d] | bit(ndocs)
    :: else
    fi;
    if
    :: what == GRANT -> concern[h] = concern[h] | bit(ndocs)
    :: else
    fi;
    db.top = ndocs;
    db.docs = db.docs | bit(ndocs);
    answering = ndocs;
    answerto = host
}

/* A document leaves V: by an answer, or because its row was told of. */
inline tell(host, x) {
    if
    :: version(x) > version(g_newest) -> g_newest = x
    :: else ->
        /* I3, I13: one document of each version. */
        assert(version(x) != version(g_newest) || x == g_newest)
    fi;
    has[host] = has[host] | bit(x);
    if
    :: doc[x].kind == RECEIPT &&
        version(x) > version(latest(host, doc[x].mig)) ->
        latest(host, doc[x].mig) = x
    :: else
    fi
}

/* The tables of decisions: before `moving`, and from then on. */
inline decide() {
    o = 0;
    if
    :: row.kind == PERMIT && (w == STREAM_COMPLETED || w == ACTIVATED) ->
        o = COMMITTED
    :: row.kind == PERMIT && w != STREAM_COMPLETED && w != ACTIVATED ->
        o = ABORTED
    :: row.kind != PERMIT && started && !contradicting(sword, dword) ->
        if
        :: sword == STREAM_COMPLETED || dword == ACTIVATED -> o = COMMITTED
        :: else ->
            if
            :: need(sword) && need(dword) && (sword || dword) -> o = ABORTED
            :: else
            fi
        fi
    :: else
    fi;
    if
    :: o && (row.pending || row.out != o) -> sign(RECEIPT, h)
    :: else
    fi
}

inline attest_and_present() {
    /* C12: what the host has, and V lacks. */
    x = 1;
    do
    :: x <= ndocs ->
        if
        :: keeps(h, x) && !((db.docs >> x) & 1) ->
            db.docs = db.docs | bit(x);
            if
            :: newer(x) ->
                db.top = x;
                db.mig = row.mig; taken_words()
            :: else
            fi
        :: else
        fi;
        x++
    :: else -> break
    od;
    /* What does not lead to the row was never told to anybody. */
    x = db.top; p = 0; w = 0;
    do
    :: x -> w = w | bit(x); x = doc[x].prev
    :: else -> break
    od;
    db.docs = db.docs & w;
    w = 0;
    read_row();
    /* C11: what V has of this host's, and the host lacks. */
    x = 1;
    do
    :: x <= ndocs && tells ->
        if
        :: ((db.docs & concern[h] & ~has[h]) >> x) & 1 ->
            tell(h, x)
        :: else
        fi;
        x++
    :: else -> break
    od;
    x = 0
}

/* The operator, by V: both words agree with what was decided. */
inline resolve(out) {
    read_row();
    o = out;
    if
    :: o == COMMITTED ->
        db.sw = (sword >= ENDED_HERE -> sword : ENDED_HERE);
        db.dw = ACTIVATED
    :: else ->
        db.sw = (sword && sword <= ENDED_HERE -> sword : KEPT);
        db.dw = NO_DOMAIN
    fi;
    db.mig = row.mig;
    sign(RECEIPT, NOBODY);
    doc[ndocs].resolved = true;
    audit(ndocs);
    o = 0
}

#if RESTORES
inline restore() {
    restores--;
    db.top = copy[x].top; db.docs = copy[x].docs;
    db.receiving = copy[x].receiving; db.sealed = copy[x].sealed;
    db.mig = copy[x].mig; db.sw = copy[x].sw; db.dw = copy[x].dw;
    answering = 0; answerto = 0;
#ifdef FILE_ANCHOR
    anchor = db.top;
    heard = 0;
#endif
    x = 0
}
#endif

/* Nothing moves, and no fault is left to come: nothing waits for ever. */
inline end_state() {
    if
    :: LIAR == NOBODY ->
        /* I14. A document that no host has needs an operator: its answer was
         * lost, and then the database went back. */
        assert(!frozen || nobody_keeps(anchor));
        if
        :: frozen -> goto over
        :: else
        fi;
        assert(!row.pending && !disputed);                      /* I14 */
        x = 0;
        do
        :: x < HOSTS * SLOTS ->
            /* No half-done record, and the key is where the row says. A dead
             * copy waits for the guest that runs there by another (I16). */
            assert(rec[x].st == NONE || row.resolved ||
                (rec[x].st == HELD && row.holder == x / SLOTS &&
                 row.epoch == rec[x].epoch) ||
                (rec[x].st != HELD && dom[x / SLOTS] == RUNNING &&
                 row.holder == x / SLOTS && row.epoch > rec[x].epoch));
            if
            :: rec[x].st == HELD && rec[x].epoch == row.epoch -> o++
            :: else
            fi;
            x++
        :: else -> break
        od;
        assert(o == 1 || row.resolved || row.holder == NOBODY);
        assert(row.resolved || row.holder == NOBODY || !row.mig ||
            !cold(row.mig) || row.holder == home);
        /* I6: the guest runs where its key is. */
        assert(row.resolved || row.holder == NOBODY ||
            dom[row.holder] == RUNNING || !trusted[row.holder])
    :: else ->
        /* A liar can keep its own server from going on, but no other host's
         * record undecided: the operator has an exit. */
        assert(frozen || !row.pending)
    fi;
over:
    x = 0; o = 0
}

proctype V() {
    byte c, h, m, x, o, p;
    short w;
    do
    :: atomic {
        /* Only one commit at a time waits for its anchor: a second worker
         * would raise it first. */
        if
        :: call?c,h,m,w
        :: answering == 0 && nempty(late) -> late?c,h,m,w
        fi;
        read_row();
        if
        :: c == CLAIM ->
            if
            :: !frozen && granted(h, w) -> tell(h, db.top)
            :: !frozen && !granted(h, w) && no_holder && nova_has(h) ->
                assert(home == h);                              /* I15 */
                sign(GRANT, h)
            :: else
            fi
        :: c == RECEIVE ->
            if
            :: trusted[h] && nova_says_dest(h, m) && drv[m] == PREPARING &&
                !row.pending && !frozen && row.holder == src[m] ->
                db.receiving = m;
                wrapme[m] = true
            :: else -> alive[m] = false
            fi
        :: c == SEND ->
            if
            :: !frozen && permitted(m) && row.s == h -> tell(h, db.top)
            :: !frozen && !permitted(m) && drv[m] == PREPARING &&
                src[m] == h && unspent(m) && received(m) && holds(h) &&
                of_epoch(w) &&
                not_pending && trusted[h] && affirming_now(dst[m]) ->
                sign(PERMIT, h)
            :: else ->
                if
                :: drv[m] == PREPARING && src[m] == h -> drv[m] = FAILED
                :: else
                fi
            fi
        :: c == SEALED ->
            if
            :: row.kind == PERMIT && row.mig == m && row.d == h && !frozen &&
                trusted[h] -> db.sealed = m
            :: else -> alive[m] = false
            fi
        :: c == BEGIN ->
            if
            :: !frozen && row.kind == START && row.mig == m && row.s == h ->
                tell(h, db.top)
            :: !frozen && startable(m) && row.s == h && sealed(m) &&
                affirming_now(row.d) ->
                /* I4 */
                assert(trusted[row.d]);
                sign(START, h)
            :: else ->
                if
                :: drv[m] == PREPARING && src[m] == h -> drv[m] = FAILED
                :: else
                fi
            fi
        :: c == TELL ->
            if
            :: !frozen && of_row(m) && row.kind != GRANT && row.mig &&
                !closed && (started || allowed(w)) && (h == row.s &&
                w <= STREAM_COMPLETED || h == row.d && w >= NO_DOMAIN) &&
                takes(w) ->
                if
                :: db.mig != row.mig ->
                    db.mig = row.mig; db.sw = SILENT; db.dw = SILENT
                :: else
                fi;
                if
                :: w <= STREAM_COMPLETED -> db.sw = w
                :: else -> db.dw = w
                fi;
                decide();
                if
                :: h == row.s && !answering -> acked[m] = w
                :: h == row.s && losses -> losses--
                :: else
                fi
            :: of_row(m) && h == row.s && !frozen -> acked[m] = sword
            :: !of_row(m) && h == src[m] && !frozen -> acked[m] = w
            :: else /* LEDGER_BEHIND, STATEMENT_NOT_ALLOWED, closed */
            fi
        :: c == APPROVE ->
            if
            :: !frozen && holds(h) && of_epoch(w) && settled && undisputed &&
                affirming_now(h) && row.kind ->
                assert(trusted[h]);                             /* I4 */
                /* I3: the epochs that open only grow. But an operator may
                 * give a cold one back that has started at D: S lied. */
                assert(w > g_opened || (w == g_opened && h == g_opener) ||
                    cold(row.mig) && row.resolved);
                g_opened = w; g_opener = h;
                /* I13: nothing newer was ever told to anybody. */
                assert(version(db.top) >= version(g_newest));
                assert(version(db.top) > version(g_newest) ||
                    db.top == g_newest);
                /* I3: nobody opens while a hand-over is under way, nor while
                 * both ends say that they run it. */
                assert(!row.pending);
                assert(row.resolved || !row.mig ||
                    !((sword == KEPT || sword == NEVER_STARTED) &&
                    dword == ACTIVATED));
                if
                :: honest(h) && dom[h] == 0 ->
                    dom[h] = RUNNING; runs_under(h, w)
                :: else
                fi
            :: else
            fi
        :: c == ATTEST ->
#ifdef FILE_ANCHOR
            heard = heard | bit(h);
#endif
            attest_and_present()
        :: else
        fi;
        if
        :: answering && c != APPROVE && c != ATTEST -> audit(answering)
        :: else
        fi;
        c = 0; h = 0; m = 0; w = 0; x = 0; o = 0; p = 0
    }
    :: atomic { answering ->
        raise_anchor();
        if
        :: answerto == NOBODY
        :: answerto != NOBODY -> tell(answerto, answering);
            if
            :: doc[answering].kind == RECEIPT &&
                answerto == doc[answering].s ->
                acked[doc[answering].mig] = doc[answering].sw
            :: else
            fi
        :: losses && answerto != NOBODY -> losses--
        fi;
        answering = 0; answerto = 0
    }
    :: atomic { vcrashes && answering -> vcrashes--;
        answering = 0; answerto = 0
    }
#if REISSUES
    :: atomic { reissues && !answering && !row.pending && !frozen && off &&
        row.holder != NOBODY ->
        reissues--;
        read_row();
        if
        :: home = S
        :: home = D
        fi;
        o = RELEASED; sign(RECEIPT, NOBODY); audit(ndocs); o = 0
    }
#endif
#if RESTORES
    :: atomic { ncopies < COPIES && restores ->
        copy[ncopies].top = db.top; copy[ncopies].docs = db.docs;
        copy[ncopies].receiving = db.receiving;
        copy[ncopies].sealed = db.sealed; copy[ncopies].mig = db.mig;
        copy[ncopies].sw = db.sw; copy[ncopies].dw = db.dw;
        ncopies++
    }
    :: atomic { restores && ncopies > 0 -> x = 0; restore() }
#if COPIES > 1
    :: atomic { restores && ncopies > 1 -> x = 1; restore() }
#endif
#endif
    /* The operator. */
    :: atomic { operators && !answering && !frozen && disputed ->
        operators--;
        if
        :: skip -> resolve(COMMITTED)
        :: skip -> resolve(ABORTED)
        fi
    }
    /* The operator, when nothing else moves. */
    :: atomic { timeout ->
        if
        :: operators && !frozen && (row.pending || disputed) ->
            operators--;
            if
            :: skip -> resolve(COMMITTED)
            :: skip -> resolve(ABORTED)
            fi
        :: else -> end_state(); break
        fi
    }
    od
}


/* -- a record of a vault, and the agent that minds it ---------------------- */

#define R rec[r]
#define ready (answering == 0)
#define sending (R.st == OUTGOING || R.st == STARTING || R.st == MOVING)
#define has_record(h, m) \
    ((rec[(h) * SLOTS].st && rec[(h) * SLOTS].mig == (m)) || \
    (rec[(h) * SLOTS + SLOTS - 1].st && \
     rec[(h) * SLOTS + SLOTS - 1].mig == (m)))

/* A call, that may be slow on its way. */
inline ask(k, n, what) {
    if
    :: call!k,h,n,what
    :: delays && nfull(late) -> delays--; late!k,h,n,what
    fi
}

/* C8. V is asked again until it knows the word, or does not care. */
#define untold(m, heard_word, w) \
    (ready && !frozen && of_row(m) && row.mig && !closed && takes(w) && \
    heard_word != (w))

#define unanswered(m, w) \
    (ready && !frozen && (of_row(m) && row.mig && \
    (!closed && sword != (w) && takes(w) || acked[m] != sword) || \
    !of_row(m) && acked[m] && acked[m] < ENDED_HERE))

#define handed_on(x) (doc[ndocs].mig != doc[x].mig)

/* C9. Nothing else lets go of a key. */
inline erase(x) {
    if
    :: honest(h) ->
        assert(dom[h] == 0 || !under(h, R.epoch));              /* I16 */
        /* I11 */
        assert(doc[x].kind == RECEIPT && (
            (doc[x].s == h && doc[x].se == R.epoch && doc[x].out != ABORTED)
            || (doc[x].d == h && doc[x].de == R.epoch &&
            doc[x].out == ABORTED)));
        /* The other end has it, or has handed it on. */
        assert(doc[x].resolved || handed_on(x) || doc[x].out != COMMITTED ||
            !honest(doc[x].d) || have(doc[x].d, doc[x].de));
        assert(doc[x].resolved || handed_on(x) || doc[x].out != ABORTED ||
            !honest(doc[x].s) || have(doc[x].s, doc[x].se))
    :: else
    fi;
    g_had[h] = g_had[h] | bit(R.epoch);
    if
    :: !later(h, r) -> secret[h] = 0
    :: else
    fi;
    R.st = NONE; R.epoch = 0; R.mig = 0; R.seen = 0
}

/* What the host does with a document that it keeps. */
#define WITH(x) \
    :: atomic { R.st == CLAIMING && keeps(h, x) && doc[x].kind == GRANT && \
        doc[x].holder == h && doc[x].de == R.seen -> \
        R.st = HELD; R.epoch = doc[x].epoch; R.seen = version(x) } \
    :: atomic { R.st == HELD && keeps(h, x) && doc[x].kind == PERMIT && \
        doc[x].s == h && doc[x].se == R.epoch && \
        newer_than_record(r, x) && (SERVES(x, 1) || SERVES(x, 2)) -> \
        if \
        :: SERVES(x, 1) -> m = 1 \
        :: SERVES(x, 2) -> m = 2 \
        fi; \
        assert(doc[x].mig == m && doc[x].g_fresh);  /* I2 */ \
        R.st = OUTGOING; R.mig = m; R.seen = version(x); asked[m] = false; \
        transfers = transfers | bit(x); m = 0 } \
    :: atomic { R.st == STARTING && stream_may(h, x) && \
        doc[x].kind == START && doc[x].mig == R.mig && \
        drv[R.mig] == PREPARING -> \
        R.st = MOVING; drv[R.mig] = CALLING } \
    :: atomic { R.st == RECEIVING && alive[R.mig] && \
        ((transfers >> x) & 1) && doc[x].mig == R.mig && doc[x].d == h -> \
        R.st = INCOMING; R.epoch = doc[x].de; has[h] = has[h] | bit(x); \
        secret[h] = R.mig } \
    :: atomic { r == h * SLOTS && keeps(h, x) && doc[x].kind == PERMIT && \
        doc[x].d == h && !has_record(h, doc[x].mig) && \
        row.mig == doc[x].mig && dom[h] == 0 && \
        untold(doc[x].mig, dword, NO_DOMAIN) -> \
        ask(TELL, doc[x].mig, NO_DOMAIN) } \
    :: atomic { keeps(h, x) && doc[x].kind == RECEIPT && doc[x].s == h && \
        receipt_of(r, doc[x].se) && newer_than_record(r, x) && \
        (sending && doc[x].out == ABORTED || source_gone(h) && \
         doc[x].out != ABORTED && told(x) && (sending || R.st == HELD)) -> \
        if \
        :: doc[x].out == ABORTED -> R.st = HELD; R.seen = version(x) \
        :: else -> erase(x) \
        fi } \
    :: atomic { keeps(h, x) && doc[x].kind == RECEIPT && doc[x].d == h && \
        R.epoch && receipt_of(r, doc[x].de) && newer_than_record(r, x) && \
        ((R.st == INCOMING || R.st == RELINQUISHED) && \
         doc[x].out == COMMITTED || (R.st == INCOMING || \
         R.st == RELINQUISHED || R.st == HELD) && dest_gone(h) && \
         doc[x].out == ABORTED) -> \
        if \
        :: doc[x].out == COMMITTED -> R.st = HELD; R.seen = version(x) \
        :: else -> erase(x) \
        fi }

#define SERVES(x, m) \
    (m <= MIGS && asked[m] && permit_of(x, m) && drv[m] == PREPARING)

/* The steps of a source, of migration m. */
#define SOURCE(m) \
    :: atomic { R.st == HELD && announced(h, m) && wrapme[m] && ready && \
        !asked[m] && !sending && drv[m] == PREPARING -> \
        asked[m] = true; ask(SEND, m, R.epoch) } \
    :: atomic { R.st == HELD && asked[m] && ready && permitted(m) && \
        !keeps(h, db.top) -> ask(SEND, m, R.epoch) } \
    :: atomic { R.st == OUTGOING && R.mig == m && drv[m] == PREPARING -> \
        R.st = STARTING } \
    :: atomic { R.st == STARTING && R.mig == m && drv[m] == PREPARING && \
        ready && !(row.kind == START && keeps(h, db.top)) -> \
        ask(BEGIN, m, 0) } \
    :: atomic { src[m] == h && !asked[m] && drv[m] == FAILED && \
        (R.st == HELD && row.kind == PERMIT && keeps(h, db.top) && \
         R.epoch == row.se && row.mig == m || \
         (R.st == OUTGOING || R.st == STARTING) && R.mig == m) && \
        untold(m, sword, NEVER_STARTED) -> \
        acked[m] = NEVER_STARTED; ask(TELL, m, NEVER_STARTED) } \
    :: atomic { R.st == MOVING && R.mig == m && drv[m] == SUCCEEDED && \
        !cold(m) && dom[h] == 0 && unanswered(m, STREAM_COMPLETED) -> \
        ask(TELL, m, STREAM_COMPLETED) } \
    :: atomic { R.st == MOVING && R.mig == m && dom[h] == RUNNING && \
        over(m) && untold(m, sword, KEPT) -> \
        acked[m] = KEPT; ask(TELL, m, KEPT) } \
    :: atomic { (R.st == MOVING || R.st == HELD && disputed && \
        src[m] == h) && R.mig == m && dom[h] == 0 && \
        (drv[m] == FAILED || drv[m] == UNKNOWN || seen_to_end(m)) && \
        unanswered(m, ENDED_HERE) -> ask(TELL, m, ENDED_HERE) }

/* The steps of a destination, of migration m. */
#define DEST(m) \
    :: atomic { R.st == NONE && dst[m] == h && drv[m] == PREPARING && \
        !tried[m] && (r == h * SLOTS || rec[h * SLOTS].st != NONE) -> \
        tried[m] = true; alive[m] = true; R.st = RECEIVING; R.mig = m } \
    :: atomic { R.st == RECEIVING && R.mig == m && alive[m] && !wrapme[m] && \
        ready -> ask(RECEIVE, m, 0) } \
    :: atomic { R.st == INCOMING && R.mig == m && alive[m] && ready && \
        db.sealed != m && row.kind == PERMIT && row.mig == m -> \
        ask(SEALED, m, 0) } \
    :: atomic { R.mig == m && (R.st == RECEIVING && \
        (!alive[m] || over(m)) || R.st == INCOMING && dom[h] == 0 && \
        gives_up(h, m)) -> \
        alive[m] = false; secret[h] = 0; R.st = RELINQUISHED } \
    :: atomic { R.st == RELINQUISHED && R.mig == m && R.epoch == 0 && \
        (row.mig != m || decided) && over(m) -> R.st = NONE; R.mig = 0 } \
    :: atomic { (R.st == RELINQUISHED || R.st == HELD && disputed && \
        dom[h] == 0 && dst[m] == h) && R.mig == m && row.kind != GRANT && \
        untold(m, dword, NO_DOMAIN) -> \
        ask(TELL, m, NO_DOMAIN) } \
    :: atomic { (R.st == INCOMING || R.st == HELD) && R.mig == m && \
        (dom[h] == RUNNING || nova_finishes(h, m)) && dst[m] == h && \
        row.kind != PERMIT && untold(m, dword, ACTIVATED) -> ask(TELL, m, ACTIVATED) }

/* What a host would be told, or has to show. */
#define lacking(h) ((db.docs & concern[h] & ~has[h]) && tells || \
    (has[h] & ~db.docs) || mute(h))
#ifdef FILE_ANCHOR
#define mute(h) !((heard >> (h)) & 1)
#else
#define mute(h) false
#endif

proctype Copy(byte h; byte r) {
    byte m, x;
end:
    do
    WITH(1) WITH(2) WITH(3) WITH(4) WITH(5) WITH(6) WITH(7)
#if NDOC > 8
    WITH(8) WITH(9)
#endif
#if NDOC > 10
    WITH(10) WITH(11)
#endif
    SOURCE(1) DEST(1)
#if MIGS > 1
    SOURCE(2) DEST(2)
#endif
    /* C1 */
    :: atomic { R.st == NONE && r == h * SLOTS && home == h && off &&
        starts -> R.st = CLAIMING; R.seen = starts; starts-- }
    :: atomic { R.st == CLAIMING && ready && !frozen && home == h &&
        (no_holder || granted(h, R.seen) && !keeps(h, db.top)) ->
        ask(CLAIM, 0, R.seen) }
    /* C10 */
    :: atomic { R.st == HELD && off && ready && !frozen && holds(h) &&
        of_epoch(R.epoch) && settled && undisputed && trusted[h] ->
        ask(APPROVE, 0, R.epoch) }
    /* C11, C12 */
    :: atomic { r == h * SLOTS && lacking(h) -> call!ATTEST,h,0,0 }
#if LIES
    :: atomic { !honest(h) && lies -> lies--; break }
#endif
    od
}

/* -- Nova, and libvirt ---------------------------------------------------- */

#define NOVA(m) \
    :: atomic { drv[m] == 0 && (m == 1 || over(m - 1)) && !g_double && \
        (dom[home] == RUNNING || cold(m) && off) -> \
        src[m] = home; drv[m] = PREPARING; \
        if \
        :: home != S -> dst[m] = S \
        :: home != D -> dst[m] = D \
        :: HOSTS > 2 && home != E -> dst[m] = E \
        fi } \
    /* A refusal, a time-out, a nova-compute that is killed. */ \
    :: atomic { drv[m] == PREPARING || drv[m] == CALLING -> \
        drv[m] = FAILED } \
    :: atomic { cold(m) && drv[m] == CALLING -> \
        dom[src[m]] = 0; drv[m] = STREAMING } \
    :: atomic { cold(m) && drv[m] == STREAMING -> \
        if \
        :: drv[m] = SUCCEEDED; home = dst[m] \
        :: drv[m] = FAILED \
        fi } \
    :: atomic { !cold(m) && drv[m] == CALLING -> \
        if \
        :: secret[dst[m]] == m && dom[dst[m]] == 0 && \
            dom[src[m]] == RUNNING -> \
            dom[dst[m]] = PAUSED; drv[m] = STREAMING; \
            runs_under(dst[m], row.de) \
        :: else -> drv[m] = FAILED \
        fi } \
    :: atomic { !cold(m) && drv[m] == STREAMING && crashes -> \
        crashes--; drv[m] = ORPHAN } \
    :: atomic { !cold(m) && (drv[m] == STREAMING || drv[m] == ORPHAN) -> \
        if \
        :: dom[dst[m]] = RUNNING; dom[src[m]] = 0; \
            if \
            :: drv[m] == STREAMING -> drv[m] = SUCCEEDED; home = dst[m] \
            :: else -> drv[m] = UNKNOWN \
            fi \
        :: dom[dst[m]] = 0; \
            drv[m] = (drv[m] == STREAMING -> FAILED : UNKNOWN) \
        :: finishes -> finishes--; g_double = m; \
            dom[dst[m]] = RUNNING; \
            drv[m] = (drv[m] == STREAMING -> FAILED : UNKNOWN) \
        :: deaths -> deaths--; g_died = true; \
            dom[dst[m]] = 0; dom[src[m]] = 0; \
            drv[m] = (drv[m] == STREAMING -> FAILED : UNKNOWN) \
        fi }

proctype Nova() {
end:
    do
    NOVA(1)
#if MIGS > 1
    NOVA(2)
#endif
    /* Somebody destroys one of two domains. */
    :: atomic { g_double ->
        if
        :: dom[src[g_double]] = 0; home = dst[g_double]
        :: dom[dst[g_double]] = 0
        fi;
        g_double = 0 }
    od
}

/* -- faults ---------------------------------------------------------------- */

/* An agent starts again, with its host or without. */
#define STOPS(h, m) \
    if \
    :: drv[m] && src[m] == h -> \
        asked[m] = false; \
        if \
        :: drv[m] == PREPARING -> drv[m] = FAILED \
        :: else \
        fi \
    :: drv[m] && dst[m] == h -> alive[m] = false \
    :: else \
    fi

/* Its domains are gone; a stream ends at the end that is left. */
#define DOWN(h, m) \
    if \
    :: drv[m] && (src[m] == h || dst[m] == h) && drv[m] != FAILED -> \
        if \
        :: drv[m] == STREAMING || drv[m] == ORPHAN -> dom[dst[m]] = 0 \
        :: else \
        fi; \
        if \
        :: src[m] == h && drv[m] == SUCCEEDED && !cold(m) -> \
            drv[m] = UNKNOWN \
        :: src[m] == h && !over(m) && drv[m] != STREAMING && \
            drv[m] != ORPHAN -> drv[m] = FAILED \
        :: drv[m] == STREAMING || drv[m] == ORPHAN -> drv[m] = UNKNOWN \
        :: else \
        fi \
    :: else \
    fi

#define FAULTS(h) \
    :: atomic { crashes -> crashes--; STOPS(h, 1); ALSO(STOPS(h, 2)) } \
    :: atomic { reboots -> reboots--; STOPS(h, 1); ALSO(STOPS(h, 2)); \
        g_died = (g_died || dom[h] == RUNNING); \
        DOWN(h, 1); ALSO(DOWN(h, 2)); dom[h] = 0; secret[h] = 0; \
        g_double = 0 } \
    :: atomic { deaths && dom[h] == RUNNING && !busy -> \
        deaths--; dom[h] = 0; g_died = true; g_double = 0 } \
    :: atomic { distrusts && trusted[h] -> distrusts--; trusted[h] = false }

#if MIGS > 1
#define ALSO(what) what
#define busy (drv[1] == STREAMING || drv[1] == ORPHAN || \
    drv[2] == STREAMING || drv[2] == ORPHAN)
#else
#define ALSO(what) skip
#define busy (drv[1] == STREAMING || drv[1] == ORPHAN)
#endif

proctype Faults() {
end:
    do
    FAULTS(0)
    FAULTS(1)
#if HOSTS > 2
    FAULTS(2)
#endif
    /* No more of them. */
    :: atomic { crashes || reboots || vcrashes || losses || delays ||
        restores || deaths || finishes || distrusts || reissues || lies ->
        crashes = 0; reboots = 0; vcrashes = 0; losses = 0; delays = 0;
        restores = 0; deaths = 0; finishes = 0; distrusts = 0; reissues = 0;
        lies = 0 }
    od
}

/* -- root of one host ------------------------------------------------------ */

#if LIES
proctype Liar() {
    byte h = LIAR;
    byte m;
end:
    do
    :: atomic { lies -> lies--;
        if
        :: m = 1
        :: MIGS > 1 -> m = 2
        fi;
        if
        :: ready -> call!TELL,h,m,NEVER_STARTED
        :: ready -> call!TELL,h,m,KEPT
        :: ready -> call!TELL,h,m,ENDED_HERE
        :: ready -> call!TELL,h,m,STREAM_COMPLETED
        :: ready -> call!TELL,h,m,NO_DOMAIN
        :: ready -> call!TELL,h,m,ACTIVATED
        :: ready -> call!RECEIVE,h,m,0
        :: ready -> call!SEND,h,m,row.epoch
        :: ready -> call!SEALED,h,m,0
        :: ready -> call!BEGIN,h,m,0
        :: ready -> call!CLAIM,h,0,9
        :: call!APPROVE,h,0,row.se
        :: call!APPROVE,h,0,row.epoch
        :: call!APPROVE,h,0,1
        :: drv[m] == PREPARING -> wrapme[m] = true
        :: secret[h] = 0
        fi;
        m = 0 }
    od
}
#endif

init {
    atomic {
        doc[0].holder = NOBODY;
        doc[0].s = NOBODY; doc[0].d = NOBODY;
        home = S;
        trusted[S] = true; trusted[D] = true;
#if HOSTS > 2
        trusted[E] = true;
#endif
#ifdef FILE_ANCHOR
        heard = (1 << HOSTS) - 1;
#endif
#if STARTS == 0 || REISSUES
        ndocs = 1; db.top = 1; db.docs = bit(1); anchor = 1; g_newest = 1;
        doc[1].kind = GRANT; doc[1].ver = 1; doc[1].holder = S;
        doc[1].epoch = 1; doc[1].s = NOBODY; doc[1].d = NOBODY;
        has[S] = bit(1); concern[S] = bit(1);
        rec[0].st = HELD; rec[0].epoch = 1; rec[0].seen = 1;
        dom[S] = RUNNING; runs_under(S, 1);
#endif
        run V();
        run Copy(S, 0);
        run Copy(D, SLOTS);
#if SLOTS > 1
        run Copy(S, 1);
        run Copy(D, SLOTS + 1);
#endif
#if HOSTS > 2
        run Copy(E, 2 * SLOTS);
#endif
        run Nova();
        run Faults();
#if LIES
        run Liar()
#endif
    }
}
