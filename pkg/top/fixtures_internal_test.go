// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// answerTime is the time of the answers.
func answerTime() time.Time { return time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC) }

// pod returns an attachment with numbers of sockets by age. Sockets of 15 minutes and more are past their grace.
func pod(i int, closeWait, finWait2 [5]int) api.AttachmentView {
	a := api.AttachmentView{
		Attachment: state.Attachment{ContainerID: fmt.Sprintf("%08x0123456789abcdef", i), IfName: "eth0"}, Network: "pods",
		Pod: state.Pod{Namespace: "shop", Name: fmt.Sprintf("web-%d", i)}, Netns: fmt.Sprintf("/run/netns/cni-%d", i),
		Policy: api.PolicyView(policy.Default()), Mode: policy.Destroy, Candidates: map[string]int{},
	}
	for state, counts := range map[inetdiag.State][5]int{inetdiag.CloseWait: closeWait, inetdiag.FinWait2: finWait2} {
		c := &a.Ages.CloseWait
		if state == inetdiag.FinWait2 {
			c = &a.Ages.FinWait2
		}
		c.Sockets = counts
		for b, n := range counts {
			if b >= 3 {
				c.Overdue[b] = n
			}
			a.Candidates[state.String()] += n
			if n > 0 {
				oldest := []time.Duration{30 * time.Second, 4 * time.Minute, 14 * time.Minute, 50 * time.Minute, 3 * time.Hour}[b]
				a.Oldest = max(a.Oldest, api.Seconds(oldest+time.Duration(i)*time.Second))
			}
		}
	}
	return a
}

// nodeStatus returns the status of a node with pods. The first few leak.
func nodeStatus(pods int) api.Status {
	s := api.Status{
		Version: buildinfo.Info{Version: "v1.2.3"}, Holder: api.Holder{PID: 42, Since: answerTime().Add(-100 * time.Minute)},
		ReaperStatus: api.ReaperStatus{
			Finder:     api.FinderView{Name: "sockdiag", Sweeps: 1234, CPU: api.Seconds(50 * time.Second)},
			Mode:       api.ModeView{Effective: policy.Destroy, Reaper: policy.Destroy},
			Namespaces: pods, Candidates: map[string]int{},
			AgeBounds: []api.Seconds{
				api.Seconds(time.Minute), api.Seconds(5 * time.Minute), api.Seconds(15 * time.Minute), api.Seconds(time.Hour),
			},
			Counts: api.Counts{Destroyed: map[inetdiag.State]uint64{inetdiag.CloseWait: 1200, inetdiag.FinWait2: 34}},
		},
	}
	for i := range pods {
		a := pod(i, [5]int{}, [5]int{})
		switch i {
		case 1:
			a = pod(i, [5]int{3, 10, 5, 0, 0}, [5]int{})
		case 2:
			a = pod(i, [5]int{120, 40, 22, 9, 3}, [5]int{4, 0, 0, 2, 0})
			a.Destroyed = 1100
		case 3:
			a = pod(i, [5]int{}, [5]int{1, 1, 0, 0, 0})
			a.Destroyed = 134
		case 4:
			a = pod(i, [5]int{0, 0, 0, 0, 7}, [5]int{})
			a.Mode, a.WouldDestroy = policy.Observe, 7
		case 5:
			a.Pod.Name, a.Warnings = apitest.Hostile, []string{"annotation " + apitest.Hostile + " is ignored"}
		case 6:
			a.Pod.Namespace, a.Pod.Name = "店舗", "カート-非常に長い名前のポッド-0123456789"
			a.Candidates["CLOSE_WAIT"], a.Ages.CloseWait.Sockets[2], a.Oldest = 2, 2, api.Seconds(10*time.Minute)
		case 7:
			a.Inert, a.Mode = "recorded before the last boot", policy.Off
		}
		s.Attachments = append(s.Attachments, a)
		for b := range 5 {
			s.Ages.CloseWait.Sockets[b] += a.Ages.CloseWait.Sockets[b]
			s.Ages.CloseWait.Overdue[b] += a.Ages.CloseWait.Overdue[b]
			s.Ages.FinWait2.Sockets[b] += a.Ages.FinWait2.Sockets[b]
			s.Ages.FinWait2.Overdue[b] += a.Ages.FinWait2.Overdue[b]
		}
		for state, n := range a.Candidates {
			s.Candidates[state] += n
		}
	}
	return s
}

// firstAnswer returns the first answer of the reaper of that node.
func firstAnswer(pods int) answer {
	at := answerTime()
	page := api.HistoryPage{Since: at.Add(-100 * time.Minute)}
	for i := 89; i >= 0; i-- {
		page.Entries = append(page.Entries, api.Entry{
			Time: at.Add(-time.Duration(i*i) * 7 * time.Millisecond), Outcome: api.Destroyed,
		})
	}
	return answer{question: question{history: true}, at: at, status: nodeStatus(pods), page: page}
}

// podSockets returns sockets of a pod, the oldest first.
func podSockets(n int) api.SocketList {
	list := api.SocketList{}
	for i := range n {
		v := api.SocketView{
			ContainerID: "000000020123456789abcdef", Pod: state.Pod{Namespace: "shop", Name: "web-2"},
			Local: "10.0.0.2:443", Peer: fmt.Sprintf("10.0.0.3:%d", 50000+i), State: inetdiag.CloseWait, Cookie: uint64(i + 1),
			Age: apitest.Seconds(time.Hour - time.Duration(i)*time.Minute), Idle: apitest.Seconds(9 * time.Minute), RQueue: 1, Inode: uint32(100 + i),
			Verdict: policy.WithinGrace, Why: "half-closed for 9m of its 10m grace", Deadline: apitest.Seconds(time.Minute), Mode: policy.Destroy,
		}
		switch i {
		case 0:
			v.Local, v.Peer = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535", "[2001:db8:1111:2222:3333:4444:5555:7777]:65535"
			v.Verdict, v.RQueue, v.Why, v.Deadline = policy.UnreadData, 4097, "its owner has 4096 bytes to read", nil
			v.Owners = []owners.Process{{PID: 7, Command: "nginx"}, {PID: 8, Command: apitest.Hostile}}
		case 1:
			v.State = inetdiag.FinWait2
		}
		list.Sockets = append(list.Sockets, v)
	}
	return list
}

// leakGroups returns leaks of two pods.
func leakGroups() []api.LeakGroup {
	fast, slow := 3.25, 0.0
	return []api.LeakGroup{
		{
			Pod: state.Pod{Namespace: "shop", Name: "web-2"}, ContainerID: "000000020123456789abcdef", State: inetdiag.CloseWait, Role: policy.RoleClient,
			Owners: []owners.Process{{PID: 812, Command: "java"}}, OwnerCount: 1, Peer: "10.0.9.9:443", Sockets: 310,
			Verdicts: map[string]int{"within-grace": 300, "unread-data": 10}, Oldest: api.Seconds(3 * time.Hour), Newest: api.Seconds(time.Minute),
			Growth: &slow, Ended: 50, Held: 48,
		},
		{
			Pod: state.Pod{Namespace: "shop", Name: apitest.Hostile}, ContainerID: "gone", State: inetdiag.FinWait2, Role: policy.RoleServer,
			Owners: []owners.Process{{PID: 7, Command: apitest.Hostile}}, OwnerCount: 9, Local: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535", Sockets: 12,
			Verdicts: map[string]int{"grace-never": 12}, Oldest: api.Seconds(5 * time.Minute), Newest: api.Seconds(2 * time.Minute), Growth: &fast,
		},
	}
}
