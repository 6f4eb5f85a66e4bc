// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func prefixes(ss ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range ss {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestExempts(t *testing.T) {
	for name, tt := range map[string]struct {
		exempt      string
		local, peer string
		want        bool
	}{
		"nothing is exempt where nothing is said": {`[]`, "10.0.0.1:80", "10.0.0.2:4000", false},
		"a local port":                                      {`[{"localPorts": "22"}]`, "10.0.0.1:22", "10.0.0.2:4000", true},
		"a local port is not a peer port":                   {`[{"localPorts": "22"}]`, "10.0.0.1:4000", "10.0.0.2:22", false},
		"the first port of a range":                         {`[{"localPorts": "22,8000-8999"}]`, "10.0.0.1:8000", "10.0.0.2:1", true},
		"the last port of a range":                          {`[{"localPorts": "22,8000-8999"}]`, "10.0.0.1:8999", "10.0.0.2:1", true},
		"the port before a range is not":                    {`[{"localPorts": "22,8000-8999"}]`, "10.0.0.1:7999", "10.0.0.2:1", false},
		"the port after a range is not":                     {`[{"localPorts": "22,8000-8999"}]`, "10.0.0.1:9000", "10.0.0.2:1", false},
		"the last port there is":                            {`[{"localPorts": "65535"}]`, "10.0.0.1:65535", "10.0.0.2:1", true},
		"a peer's port":                                     {`[{"peerPorts": "5432"}]`, "10.0.0.1:4000", "10.0.0.2:5432", true},
		"a peer's network":                                  {`[{"peers": "10.0.0.0/8"}]`, "192.0.2.1:80", "10.255.0.2:4000", true},
		"the network is the peer's, not one's own":          {`[{"peers": "10.0.0.0/8"}]`, "10.0.0.1:80", "192.0.2.1:4000", false},
		"one address":                                       {`[{"peers": "192.0.2.7"}]`, "10.0.0.1:80", "192.0.2.7:4000", true},
		"the address beside it is not":                      {`[{"peers": "192.0.2.7"}]`, "10.0.0.1:80", "192.0.2.8:4000", false},
		"an IPv4 network holds v4-mapped peers":             {`[{"peers": "10.0.0.0/8"}]`, "[::ffff:10.0.0.1]:80", "[::ffff:10.9.9.9]:4000", true},
		"a v4-mapped network holds IPv4 peers":              {`[{"peers": "::ffff:10.0.0.0/104"}]`, "10.0.0.1:80", "10.9.9.9:4000", true},
		"a v4-mapped address holds v4-mapped peers":         {`[{"peers": "::ffff:10.9.9.9"}]`, "[::ffff:10.0.0.1]:80", "[::ffff:10.9.9.9]:4000", true},
		"all of IPv6 holds no IPv4":                         {`[{"peers": "::/0"}]`, "[::ffff:10.0.0.1]:80", "[::ffff:10.9.9.9]:4000", false},
		"an IPv6 network":                                   {`[{"peers": "2001:db8::/32"}]`, "[2001:db8::1]:80", "[2001:db8:9::1]:4000", true},
		"a link-local peer with a zone":                     {`[{"peers": "fe80::/10"}]`, "[fe80::1%eth0]:80", "[fe80::2%eth0]:4000", true},
		"all keys of an entry must match":                   {`[{"peers": "10.0.0.0/8", "peerPorts": "5432"}]`, "10.0.0.1:80", "10.9.9.9:5432", true},
		"the network without the port is not enough":        {`[{"peers": "10.0.0.0/8", "peerPorts": "5432"}]`, "10.0.0.1:80", "10.9.9.9:5433", false},
		"the port without the network is not enough":        {`[{"peers": "10.0.0.0/8", "peerPorts": "5432"}]`, "10.0.0.1:80", "192.0.2.9:5432", false},
		"one entry of several is enough":                    {`[{"localPorts": "22"}, {"loopback": true}]`, "127.0.0.1:80", "127.0.0.1:4000", true},
		"loopback of IPv6":                                  {`[{"loopback": true}]`, "[::1]:80", "[::1]:4000", true},
		"loopback of v4-mapped":                             {`[{"loopback": true}]`, "[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.9]:4000", true},
		"loopback is not any address of one's own":          {`[{"loopback": true}]`, "10.0.0.1:80", "10.0.0.1:4000", false},
		"a port on the loopback is not that port elsewhere": {`[{"loopback": true, "localPorts": "80"}]`, "10.0.0.1:80", "10.0.0.2:4000", false},
	} {
		t.Run(name, func(t *testing.T) {
			n, problems := policy.ParseNetwork([]byte(`{"exempt": ` + tt.exempt + `}`))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			v := judgeAddresses(policy.Compose(n.Layer), tt.local, tt.peer)
			if got := v.Reason == policy.Exempted; got != tt.want {
				t.Errorf("%s with %s: got %v, want %v", tt.local, tt.peer, v.Reason, tt.want)
			}
		})
	}
}

// judgeAddresses judges an idle CLOSE_WAIT socket with these addresses.
func judgeAddresses(p policy.Policy, local, peer string) policy.Verdict {
	family := uint8(unix.AF_INET)
	if netip.MustParseAddrPort(local).Addr().Is6() {
		family = unix.AF_INET6
	}
	s := closeWait(0, func(s *inetdiag.Socket) {
		s.ID = inetdiag.NewID(family, netip.MustParseAddrPort(local), netip.MustParseAddrPort(peer), 0, 7)
	})
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
	return policy.Judge([]policy.Policy{p}, &h, s, policy.Facts{}, at(1))
}

func TestExemptionIsNamed(t *testing.T) {
	p := policy.Default()
	p.Exempt = []policy.Match{{LocalPorts: policy.Ports{{22, 22}}}, {Loopback: true}}
	v := judgeAddresses(p, "127.0.0.1:80", "127.0.0.1:4000")
	if want := (policy.RuleRef{List: policy.ListExempt, Index: 1}); v.Reason != policy.Exempted || v.ActWhy.Ref != want {
		t.Errorf("got %v by %+v", v.Reason, v.ActWhy.Ref)
	}
}

func TestMatchInWords(t *testing.T) {
	for want, e := range map[string]policy.Match{
		"everything":                   {},
		"loopback":                     {Loopback: true},
		"local port 22":                {LocalPorts: policy.Ports{{22, 22}}},
		"local ports 8000-8999":        {LocalPorts: policy.Ports{{8000, 8999}}},
		"local ports 22,8000-8999":     {LocalPorts: policy.Ports{{22, 22}, {8000, 8999}}},
		"peer 192.0.2.7":               {Peers: prefixes("192.0.2.7/32")},
		"peers 10.0.0.0/8,2001:db8::1": {Peers: prefixes("10.0.0.0/8", "2001:db8::1/128")},
		"loopback, local port 1, peer ::/0, peer port 2": {
			Loopback: true, LocalPorts: policy.Ports{{1, 1}}, Peers: prefixes("::/0"), PeerPorts: policy.Ports{{2, 2}},
		},
		`CLOSE_WAIT, client, uids 0,1000-1999, commands "nc", "sshd"`: {
			State: inetdiag.CloseWait, Role: policy.RoleClient, UIDs: []policy.UIDRange{{0, 0}, {1000, 1999}}, Commands: []string{"nc", "sshd"},
		},
	} {
		if got := e.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPortsText(t *testing.T) {
	for text, want := range map[string]string{
		"22":                     "22",
		"22,8000-8999":           "22,8000-8999",
		" 22 , 8000 - 8999 ":     "22,8000-8999",
		"8000-8999,22":           "22,8000-8999",
		"22,22":                  "22",
		"80-90,85-95":            "80-95",
		"80-90,82-84":            "80-90",
		"80,81,82-90":            "80-90",
		"65535,65534":            "65534-65535",
		"1-65535,65535":          "1-65535",
		"7-7":                    "7",
		"":                       "",
		"0":                      "",
		"22,":                    "",
		"65536":                  "",
		"-5":                     "",
		"5-":                     "",
		"90-80":                  "",
		"1-2-3":                  "",
		"ssh":                    "",
		"+22":                    "",
		"1,2,3" + many(",7", 13): "1-3,7",
		"1,2,3" + many(",7", 14): "",
	} {
		var got policy.Ports
		err := got.UnmarshalText([]byte(text))
		if (err == nil) != (want != "") || got.String() != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func many(s string, n int) string { return strings.Repeat(s, n) }

func TestExemptProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		exempt string
		want   []string
	}{
		"an entry that asks for nothing": {
			`[{"loopback": true}, {}]`,
			[]string{`$.exempt[1]: an entry without keys would exempt every socket: write "mode": "off" for that`},
		},
		"an entry with nothing but a comment": {
			`[{"_why": "?"}]`,
			[]string{`$.exempt[0]: an entry without keys would exempt every socket: write "mode": "off" for that`},
		},
		"too many, and one of the first wrong": {
			`[{"peers": "x"}` + many(`, {"loopback": true}`, 64) + `]`,
			[]string{"$.exempt: 65 entries, at most 64 are allowed", `$.exempt[0].peers: "x" is not an address: want networks or addresses in a string such as "10.0.0.0/8,192.0.2.7"`},
		},
		"too many ranges, and one of the first wrong": {
			`[{"peers": "x` + many(",10.0.0.1", 16) + `", "uids": "x` + many(",1", 16) + `", "localPorts": "x` + many(",1", 16) + `", "commands": [""` + many(`,"a"`, 16) + `]}]`,
			[]string{
				"$.exempt[0].peers: 17 networks, at most 16 are allowed",
				`$.exempt[0].peers: "x" is not an address: want networks or addresses in a string such as "10.0.0.0/8,192.0.2.7"`,
				"$.exempt[0].uids: 17 ranges, at most 16 are allowed",
				`$.exempt[0].uids: "x": a user ID is a number from 0 to 4294967295`,
				"$.exempt[0].localPorts: 17 ranges, at most 16 are allowed",
				`$.exempt[0].localPorts: "x": a port is a number from 1 to 65535`,
				"$.exempt[0].commands: 17 entries, at most 16 are allowed",
				"$.exempt[0].commands[0]: a process name is missing",
			},
		},
		"not a list": {
			`{"loopback": true}`,
			[]string{`$.exempt: want a list such as [{"localPorts": "22"}, {"loopback": true}], got an object`},
		},
		"an entry that is none": {
			`["loopback"]`,
			[]string{`$.exempt[0]: want an object, got a string`},
		},
		"a key with a letter missing": {
			`[{"localPort": "22"}]`,
			[]string{`$.exempt[0].localPort: unknown key, did you mean "localPorts"?`},
		},
		"a key like none": {
			`[{"interface": "eth0", "loopback": true}]`,
			[]string{`$.exempt[0].interface: unknown key: want one of state, role, localPorts, peerPorts, peers, loopback, uids, commands`},
		},
		"a key in capitals": {
			`[{"Peers": "10.0.0.0/8"}]`,
			[]string{`$.exempt[0].Peers: unknown key, did you mean "peers"?`},
		},
		"a key given twice": {
			`[{"localPorts": "22", "localPorts": "23"}]`,
			[]string{`$.exempt[0].localPorts: given more than once`},
		},
		"ports that are a number": {
			`[{"localPorts": 22}]`,
			[]string{`$.exempt[0].localPorts: want ports in a string such as "22,8000-8999", got the number 22: write "22"`},
		},
		"ports that are a list": {
			`[{"peerPorts": [22, 23]}]`,
			[]string{`$.exempt[0].peerPorts: want ports in a string such as "22,8000-8999", got a list`},
		},
		"every port that is none": {
			`[{"localPorts": "0,22,90-80,http"}]`,
			[]string{
				`$.exempt[0].localPorts: "0": a port is a number from 1 to 65535`,
				`$.exempt[0].localPorts: "90-80" ends before it begins: write "80-90"`,
				`$.exempt[0].localPorts: "http": a port is a number from 1 to 65535`,
			},
		},
		"a network with the bits of a host": {
			`[{"peers": "10.1.2.3/8"}]`,
			[]string{`$.exempt[0].peers: "10.1.2.3/8" has bits set beyond its length: write "10.0.0.0/8", or "10.1.2.3" for the one address`},
		},
		"networks that are none": {
			`[{"peers": "10.0.0.0/33,db.example,,fe80::1%eth0,::ffff:0:0/90"}]`,
			[]string{
				`$.exempt[0].peers: "10.0.0.0/33" is not a network: want networks or addresses in a string such as "10.0.0.0/8,192.0.2.7"`,
				`$.exempt[0].peers: "db.example" is not an address: want networks or addresses in a string such as "10.0.0.0/8,192.0.2.7"`,
				`$.exempt[0].peers: a network is missing: want networks or addresses in a string such as "10.0.0.0/8,192.0.2.7"`,
				`$.exempt[0].peers: "fe80::1%eth0" has a zone: write "fe80::1"`,
				`$.exempt[0].peers: "::ffff:0:0/90" is wider than all of IPv4: write "0.0.0.0/0" or an IPv6 network`,
			},
		},
		"loopback that is false": {
			`[{"loopback": false, "localPorts": "22"}]`,
			[]string{`$.exempt[0].loopback: only true is allowed: leave the key out`},
		},
		"loopback in quotes": {
			`[{"loopback": "true"}]`,
			[]string{`$.exempt[0].loopback: want true, got a string`},
		},
		"a state that is not half-closed": {
			`[{"state": "ESTABLISHED"}]`,
			[]string{`$.exempt[0].state: unknown state "ESTABLISHED": want "CLOSE_WAIT" or "FIN_WAIT2"`},
		},
		"a state as ss writes it": {
			`[{"state": "CLOSE-WAIT"}]`,
			[]string{`$.exempt[0].state: unknown state "CLOSE-WAIT", did you mean "CLOSE_WAIT"?`},
		},
		"a role that is not known": {
			`[{"role": "unknown"}]`,
			[]string{`$.exempt[0].role: unknown role "unknown": want "client" or "server"`},
		},
		"user IDs that are a number": {
			`[{"uids": 1000}]`,
			[]string{`$.exempt[0].uids: want user IDs in a string such as "0,1000-1999", got the number 1000: write "1000"`},
		},
		"every user ID that is none": {
			`[{"uids": "root,5-4,4294967296,,7"}]`,
			[]string{
				`$.exempt[0].uids: "root": a user ID is a number from 0 to 4294967295`,
				`$.exempt[0].uids: "5-4" ends before it begins: write "4-5"`,
				`$.exempt[0].uids: "4294967296": a user ID is a number from 0 to 4294967295`,
				`$.exempt[0].uids: a user ID is missing: want user IDs in a string such as "0,1000-1999"`,
			},
		},
		"a command that is no list": {
			`[{"commands": "nc"}]`,
			[]string{`$.exempt[0].commands: want a list of process names such as ["postgres", "sshd"], got a string`},
		},
		"no command at all": {
			`[{"commands": []}]`,
			[]string{`$.exempt[0].commands: an empty list matches no process: leave the key out`},
		},
		"every command that is none": {
			`[{"commands": ["", 7, "/usr/sbin/sshd", "a\u0000b", "` + many("x", 65) + `", "nc"]}]`,
			[]string{
				`$.exempt[0].commands[0]: a process name is missing`,
				`$.exempt[0].commands[1]: want a process name such as "postgres", got the number 7`,
				`$.exempt[0].commands[2]: "/usr/sbin/sshd" is a path: write the name of the process, such as "sshd"`,
				`$.exempt[0].commands[3]: "a\x00b" is not a process name`,
				`$.exempt[0].commands[4]: a process name of 65 bytes, at most 64 are allowed, and the first 15 count`,
			},
		},
		"too many commands": {
			`[{"commands": ["nc"` + many(`,"nc"`, 16) + `]}]`,
			[]string{`$.exempt[0].commands: 17 entries, at most 16 are allowed`},
		},
		"too many ranges": {
			`[{"localPorts": "1` + many(",3", 16) + `"}]`,
			[]string{`$.exempt[0].localPorts: 17 ranges, at most 16 are allowed`},
		},
		"too many networks": {
			`[{"peers": "::1` + many(",::1", 16) + `"}]`,
			[]string{`$.exempt[0].peers: 17 networks, at most 16 are allowed`},
		},
		"too many entries": {
			`[{"loopback": true}` + many(`,{"loopback": true}`, 64) + `]`,
			[]string{`$.exempt: 65 entries, at most 64 are allowed`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, problems := policy.ParseNetwork([]byte(`{"exempt": ` + tt.exempt + `}`))
			if diff := cmp.Diff(tt.want, problems.Strings()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(policy.Layer{Source: policy.SourceNetwork}, n.Layer); diff != "" {
				t.Errorf("a list with a problem was taken (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExemptLimitsCanBeReached(t *testing.T) {
	var entries []string
	for i := range 64 {
		ports := fmt.Sprint(1000 + 100*i)
		for j := range 15 {
			ports += fmt.Sprintf(",%d-%d", 1002+100*i+3*j, 1003+100*i+3*j)
		}
		entries = append(entries, fmt.Sprintf(`{"localPorts": %q}`, ports))
	}
	n, problems := policy.ParseNetwork([]byte(`{"exempt": [` + strings.Join(entries, ",") + `]}`))
	if len(problems) > 0 || len(n.Layer.Exempt) != 64 || len(n.Layer.Exempt[63].LocalPorts) != 16 {
		t.Errorf("got %d entries, %v", len(n.Layer.Exempt), problems)
	}
}

func TestMatchRoundTrip(t *testing.T) {
	want := policy.Match{
		LocalPorts: policy.Ports{{1, 2}}, PeerPorts: policy.Ports{{3, 3}}, Peers: prefixes("10.0.0.0/8", "::1/128"), Loopback: true,
		State: inetdiag.FinWait2, Role: policy.RoleServer, UIDs: []policy.UIDRange{{7, 9}}, Commands: []string{"nc"},
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if s := `{"state":"FIN_WAIT2","role":"server","localPorts":"1-2","peerPorts":"3","peers":"10.0.0.0/8,::1","loopback":true,` +
		`"uids":"7-9","commands":["nc"]}`; string(data) != s {
		t.Errorf("got %s, want %s", data, s)
	}
	var got policy.Match
	if err := json.Unmarshal(data, &got); err != nil || !got.Equal(want) {
		t.Errorf("reads back as %s, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"loopback":false}`), &got); err == nil || !got.Equal(want) {
		t.Errorf("an entry with a problem was taken: %s, %v", got, err)
	}
}
