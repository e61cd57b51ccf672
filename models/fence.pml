/* Ownership of one partition, as runnelctl's scripts keep it (runnelctl/store/lua), with everything that can come in
   between: workers that stop at any point and go on later, lost replies with blind retries, failovers that roll Redis
   back, read-ahead from a history that is gone, hand-over, a block and its replay, a stranger who trims.

   What holds: every event that the cursor has passed was handled, once, within what Redis remembers; nobody commits but
   the owner; one nonce commits per epoch, also over failovers; nothing that was trimmed unread is passed in silence.

   Flags take a safeguard away (the model must then fail) or choose a size; models/check runs them all:
     NOFENCE NONCE_OFF EPOCH_COUNTS SEQ_OFF CURSOR_OFF HISTORY_OFF TRIM_OFF BLOCK_OFF BOTH, W=3, EVENTS=n
   Left out: several partitions, batches (a commit is of one event), the order of keys, suspects and charges, members and
   their beats (anybody may take the partition at any time), ids that are given twice, seek, the producers' numbers, effects (an output is a bit). */
#ifndef W
#define W 2
#endif
#ifndef EVENTS
#define EVENTS 3
#endif
#ifndef EPOCHS
#define EPOCHS 5
#endif
#ifndef NONCES
#define NONCES 4
#endif
#ifndef FAILOVERS
#define FAILOVERS 1
#endif
#define BIT(x) (1 << (x))
#define UPTO(x) ((2 << (x)) - 1)
/* How many of ids 1..4 are in a set. */
#define SIZE(s) (((s) >> 1 & 1) + ((s) >> 2 & 1) + ((s) >> 3 & 1) + ((s) >> 4 & 1))
/* The lowest id of a set behind x, 0 for none. */
#define NEXT(s, x) ((x) < 1 && ((s) & 2) -> 1 : ((x) < 2 && ((s) & 4) -> 2 : ((x) < 3 && ((s) & 8) -> 3 : \
  ((x) < 4 && ((s) & 16) -> 4 : 0))))

#ifdef NOFENCE
#define MINE (1)
#else
#ifdef NONCE_OFF
#define MINE (e == le)
#else
#define MINE (e == le && n == ln)
#endif
#endif
#ifdef SEQ_OFF
#define AGAIN (0)
#define INSTEP (1)
#else
#define AGAIN (cs == seq)
#define INSTEP (seq == cs + 1)
#endif
#ifdef CURSOR_OFF
#define ATCURSOR (1)
#else
#define ATCURSOR (cur == lc)
#endif
#ifdef HISTORY_OFF
#define THERE (1)
#else
#define THERE ((ent & BIT(ev)) != 0)
#endif
#ifdef TRIM_OFF
#define TRIMMED (0)
#else
#define TRIMMED (added - SIZE(ent) > cnt)
#endif

#ifdef BLOCK_OFF
#define FREE (1)
#else
#define FREE (!q)
#endif

/* A failover that brings back what a stranger trimmed a moment ago, while a commit of what was read in between is under
   way: that commit passes over the event that came back. Known, and the one thing left out of the claim. */
#ifdef BOTH
#define MAYTRIM (1)
#define MAYFAIL (1)
#else
#define MAYTRIM (fo == 0)
#define MAYFAIL (added == SIZE(ent))
#endif

/* Redis: the own hash, the stream (a set of ids), and what the outputs are of. All of it rolls back together. */
byte e, n, cur, cs, cnt, added, ent, done, lost, acc, last;
bit q;
byte re, rn, rcur, rcs, rcnt, radded, rent, rdone, rlost, racc, rlast; /* the replica */
bit rq;
byte clock, fo, nn, sent, used; /* do not roll back: time, failovers, nonces and events given, ids ever used */
byte com[EPOCHS + 2];         /* which nonce committed under an epoch, ever */
byte offer_e, offer_n, offer_to = 255; /* a hand-over under way */

inline fresh_epoch() {
#ifndef EPOCH_COUNTS
  if :: clock < EPOCHS -> clock++ :: else fi;
  if :: e + 1 > clock -> e = e + 1 :: else -> e = clock fi;
#else
  e = e + 1;
#endif
  nn++; n = nn; cs = 0
}

active proctype world() {
  byte x;
  do
  :: atomic { re = e; rn = n; rcur = cur; rcs = cs; rcnt = cnt; radded = added; rent = ent; rdone = done; rlost = lost;
       racc = acc; rq = q; rlast = last }
  :: atomic { fo < FAILOVERS && MAYFAIL -> fo++; e = re; n = rn; cur = rcur; cs = rcs; cnt = rcnt; added = radded; ent = rent;
       done = rdone; lost = rlost; acc = racc; q = rq; last = rlast }
  :: atomic { sent < EVENTS -> /* ids rise, with gaps; a new server whose clock is behind fills the gaps of the old one */
       if :: x = last + 1 :: x = last + 2 fi;
       if
       :: x <= 4 && (used & BIT(x)) == 0 -> sent++; ent = ent | BIT(x); used = used | BIT(x); last = x; added++
       :: else
       fi;
       x = 0 }
  :: atomic { ent != 0 && lost == 0 && acc == 0 && MAYTRIM -> /* a stranger takes the oldest entry, once */
       if
       :: NEXT(ent, 0) > cur -> lost = lost | BIT(NEXT(ent, 0))
       :: else
       fi;
       ent = ent & ~BIT(NEXT(ent, 0)) }
  :: atomic { q -> q = 0; /* replay, which accepts what is lost */
       acc = acc | lost;
       if :: added - SIZE(ent) > cnt -> cnt = added - SIZE(ent) :: else fi }
  od
}

/* What a worker knows: its lease, cursor and seq; the event in its handler; the one that it read ahead. */
inline session() { /* verify the nonce, drop what was read, go on from the cursor that is there */
  ev = 0; ahead = 0;
  if :: e == le && n == ln -> lc = cur; seq = cs :: else -> own = 0; le = 0; ln = 0; lc = 0; seq = 0 fi
}

active [W] proctype worker() {
  byte le, ln, lc, seq, ev, ahead;
  byte how; /* of the commit that is out: 1 plain, 2 releases, 3 hands over, 4 blocks */
  bit own;
  do
  :: atomic { !own && e < EPOCHS && nn < NONCES && FREE -> fresh_epoch(); le = e; ln = nn; own = 1; lc = cur; seq = 0; ev = 0; ahead = 0 }
  :: atomic { !own && offer_to == _pid -> le = offer_e; ln = offer_n; offer_to = 255; offer_e = 0; offer_n = 0; own = 1;
       session() }
  :: atomic { own && ev == 0 && NEXT(ent, lc) != 0 -> ev = NEXT(ent, lc) }
  :: atomic { own && ev != 0 && ahead == 0 && NEXT(ent, ev) != 0 -> ahead = NEXT(ent, ev) }
  :: atomic { own -> session() }
  :: atomic { own && ev != 0 -> seq++; if :: how = 1 :: how = 2 :: how = 3 :: how = 4 fi }
     do
     :: atomic {
          if
          :: MINE && AGAIN -> /* ALREADY */
             if :: how == 1 -> lc = ev; ev = ahead; ahead = 0
                :: else -> own = 0; le = 0; ln = 0; lc = 0; seq = 0; ev = 0; ahead = 0 fi;
             how = 0; break
          :: !MINE -> own = 0; le = 0; ln = 0; lc = 0; seq = 0; ev = 0; ahead = 0; how = 0; break /* FENCED */
          :: MINE && !AGAIN && !(INSTEP && ATCURSOR) -> how = 0; session(); break /* CURSOR */
          :: MINE && !AGAIN && INSTEP && ATCURSOR && how == 4 -> /* the policy: stop before the event, let go */
             cs = seq; q = 1; n = 0;
             if :: own = 0; le = 0; ln = 0; lc = 0; seq = 0; ev = 0; ahead = 0; how = 0; break :: skip fi
          :: MINE && !AGAIN && INSTEP && ATCURSOR && how != 4 && !THERE -> how = 0; session(); break /* HISTORY */
          :: MINE && !AGAIN && INSTEP && ATCURSOR && how != 4 && THERE && TRIMMED -> /* block it, and let go */
             q = 1; n = 0; how = 0;
             own = 0; le = 0; ln = 0; lc = 0; seq = 0; ev = 0; ahead = 0; break
          :: MINE && !AGAIN && INSTEP && ATCURSOR && how != 4 && THERE && !TRIMMED ->
             assert((done & BIT(ev)) == 0);              /* nothing twice */
             assert(ev > cur);                           /* the cursor never goes back */
             assert(!q);                                 /* nothing runs where it was stopped */
             done = done | BIT(ev); cur = ev; cnt++; cs = seq;
             assert((ent & UPTO(cur) & ~done) == 0);     /* nothing skipped */
             assert((lost & ~acc) == 0);                 /* no loss in silence */
             assert(com[le] == 0 || com[le] == ln); com[le] = ln;
             if
             :: how == 2 -> n = 0
             :: how == 3 ->
                if
                :: e < EPOCHS && nn < NONCES -> fresh_epoch(); offer_e = e; offer_n = n;
                   offer_to = 1 + (_pid % W) /* workers are 1..W */
                :: else -> n = 0
                fi
             :: else
             fi;
             if /* the reply came, or it was lost and the very same commit goes out again */
             :: how == 1 -> lc = ev; ev = ahead; ahead = 0; how = 0; break
             :: how != 1 -> own = 0; le = 0; ln = 0; lc = 0; seq = 0; ev = 0; ahead = 0; how = 0; break
             :: skip
             fi
          fi }
     od
  od
}
