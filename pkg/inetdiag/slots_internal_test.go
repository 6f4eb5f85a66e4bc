// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// pipelines are the operations with several requests in flight. Each returns the error of every visit.
var pipelines = map[string]func(c *Conn, ids []ID) ([]error, error){
	"look up": func(c *Conn, ids []ID) (got []error, err error) {
		err = c.LookupAll(ids, func(i int, s *Socket, err error) {
			if err == nil && s.ID != ids[i] {
				err = fmt.Errorf("index %d got %v", i, s.ID)
			}
			got = append(got, err)
		})
		return got, err
	},
	"destroy": func(c *Conn, ids []ID) (got []error, err error) {
		err = c.DestroyAll(ids, nil, func(_ int, err error) { got = append(got, err) })
		return got, err
	},
}

// mixed returns IDs of existing sockets, of gone sockets and of no socket, with the expected error of each.
func mixed(n int) (ids []ID, want []error) {
	for i := range n {
		id, err := testID(unix.AF_INET, uint64(i+1)), error(nil)
		switch {
		case i%5 == 3:
			id, err = testID(unix.AF_INET, goneFrom+uint64(i)), ErrGone
		case i%7 == 2:
			id, err = ID{}, ErrBadID
		}
		ids, want = append(ids, id), append(want, err)
	}
	return ids, want
}

const goneFrom = 1000

// answerOf returns the answer to a request.
func answerOf(m message) []byte {
	id := ID{family: m.data[0], sockid: [sizeofSockID]byte(m.data[8:])}
	switch {
	case id.Cookie() >= goneFrom:
		return errnoMessage(unix.NLMSG_ERROR, m.seq, unix.ENOENT)
	case m.typ == typeDestroy:
		return errnoMessage(unix.NLMSG_ERROR, m.seq, 0)
	}
	return socketMessage(typeByFamily, m.seq, id, CloseWait)
}

func sameError(a, b error) bool { return errors.Is(a, b) && errors.Is(b, a) }

func TestAnswersMayArriveInAnyNumberOfReads(t *testing.T) {
	for name, op := range pipelines {
		for _, n := range []int{1, 2, slotCount, slotCount + 1, chunk + 1, 2*chunk + slotCount + 3} {
			for _, most := range []int{0, 1, 2, 3, slotCount - 1} {
				s := &script{most: most, answer: func(m message) [][]byte { return [][]byte{answerOf(m)} }}
				c := &Conn{t: s}
				ids, want := mixed(n)
				for range 2 {
					got, err := op(c, ids)
					if err != nil {
						t.Fatalf("%s %d, %d at once: %v", name, n, most, err)
					}
					if diff := cmp.Diff(want, got, cmp.Comparer(sameError)); diff != "" {
						t.Errorf("%s %d, %d at once (-want +got):\n%s", name, n, most, diff)
					}
				}
				if c.slots != nil || len(s.queue) != 0 {
					t.Errorf("%s %d, %d at once: the slots were not returned, or answers are unread", name, n, most)
				}
			}
		}
	}
}

func TestNoMoreAnswersAreReadThanRequestsSent(t *testing.T) {
	s := &script{most: 3, answer: func(m message) [][]byte { return [][]byte{answerOf(m)} }}
	ids, _ := mixed(7) // one of them is not sent
	if _, err := pipelines["look up"](&Conn{t: s}, ids); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{6, 3}, s.asked); diff != "" {
		t.Errorf("requested datagrams (-want +got):\n%s", diff)
	}
}

// TestABadAnswerAmongOthersEndsThePipelineThere: answers before it count, later ones of the same read do not.
func TestABadAnswerAmongOthersEndsThePipelineThere(t *testing.T) {
	const bad = 5
	for name, answer := range map[string]func(m message) [][]byte{
		"lost":               func(message) [][]byte { return nil },
		"an earlier one's":   func(m message) [][]byte { m.seq--; return [][]byte{answerOf(m)} },
		"a later one's":      func(m message) [][]byte { m.seq++; return [][]byte{answerOf(m)} },
		"the one before too": func(m message) [][]byte { o := m; o.seq--; return [][]byte{answerOf(o), answerOf(m)} },
		"empty":              func(message) [][]byte { return [][]byte{{}} },
		"too long":           func(m message) [][]byte { return [][]byte{append(answerOf(m), make([]byte, recvSize)...)} },
		"overrun": func(m message) [][]byte {
			return [][]byte{appendHeader(nil, unix.NLMSG_OVERRUN, 0, m.seq, 0)}
		},
	} {
		for opName, op := range pipelines {
			for _, most := range []int{0, 1, 2, bad, bad + 1} {
				t.Run(fmt.Sprintf("%s, %s, %d at once", opName, name, most), func(t *testing.T) {
					s := &script{most: most}
					s.answer = func(m message) [][]byte {
						if len(s.sent) == bad+1 {
							return answer(m)
						}
						return [][]byte{answerOf(m)}
					}
					ids := make([]ID, slotCount+2)
					for i := range ids {
						ids[i] = testID(unix.AF_INET, uint64(i+1))
					}
					c := &Conn{t: s, seq: 100}
					got, err := op(c, ids)
					if err == nil || len(got) != bad || errors.Join(got...) != nil {
						t.Fatalf("got %v after %v, want an error after %d good answers", err, got, bad)
					}
					if name == "too long" && !errors.Is(err, unix.EMSGSIZE) {
						t.Errorf("got %v, want %v", err, unix.EMSGSIZE)
					}
					sent := len(s.sent)
					for opName, op := range pipelines {
						if got, err := op(c, ids); err == nil || len(got) != 0 || len(s.sent) != sent {
							t.Errorf("%s after it: %v, %d visits, %d requests; want an error and none of these",
								opName, err, len(got), len(s.sent)-sent)
						}
					}
				})
			}
		}
	}
}

// TestAnExtraAnswerDoesNotCountForALaterRequest: the Conn may have read it together with the expected answers.
func TestAnExtraAnswerDoesNotCountForALaterRequest(t *testing.T) {
	ids := []ID{testID(unix.AF_INET, 1), testID(unix.AF_INET, 2), testID(unix.AF_INET, 3)}
	for firstName, first := range pipelines {
		for name, next := range map[string]func(c *Conn) (visits int, err error){
			"look up many": func(c *Conn) (int, error) { got, err := pipelines["look up"](c, ids); return len(got), err },
			"destroy many": func(c *Conn) (int, error) { got, err := pipelines["destroy"](c, ids); return len(got), err },
			"look up one":  func(c *Conn) (int, error) { _, err := c.Lookup(ids[2]); return 0, err },
			"destroy one":  func(c *Conn) (int, error) { return 0, c.Destroy(ids[2]) },
			"dump":         func(c *Conn) (int, error) { got, err := allIDs(c); return len(got), err },
		} {
			for _, most := range []int{0, 1} {
				s := &script{most: most}
				s.answer = func(m message) [][]byte {
					switch len(s.sent) {
					case 1:
						return nil
					case 2: // two answers in one datagram, so one slot stays free
						return [][]byte{append(answerOf(s.sent[0]), answerOf(m)...)}
					case 3:
						return [][]byte{answerOf(m), answerOf(m)}
					}
					return [][]byte{answerOf(m)}
				}
				c := &Conn{t: s}
				if got, err := first(c, ids); err != nil || len(got) != len(ids) || errors.Join(got...) != nil {
					t.Fatalf("%s: %v, %v", firstName, got, err)
				}
				if visits, err := next(c); err == nil || visits != 0 || sameError(err, ErrGone) {
					t.Errorf("%s after %s, %d at once: %v and %d visits, want an error of the transport and no visit",
						name, firstName, most, err, visits)
				}
				if c.err == nil {
					t.Errorf("%s after %s, %d at once: the conn is still usable", name, firstName, most)
				}
			}
		}
	}
}
