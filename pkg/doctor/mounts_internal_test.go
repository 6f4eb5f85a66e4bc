// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
)

// aContainersMounts is the mount table of a container with the host's root at /host and a volume at /run/netns.
const aContainersMounts = `700 650 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/a:/b
701 700 0:51 / /proc rw,nosuid - proc proc rw
702 700 0:24 /netns /run/netns rw,nosuid master:5 - tmpfs tmpfs rw,mode=755
703 702 0:4 net:[4026532555] /run/netns/cni-1\040a rw master:9 - nsfs nsfs rw
704 700 254:1 / /host ro,relatime - ext4 /dev/vda1 rw
705 704 0:24 / /host/run rw,nosuid shared:7 - tmpfs tmpfs rw
706 705 0:4 net:[4026532555] /host/run/netns/cni-1\040a rw - nsfs nsfs rw
707 705 0:4 mnt:[4026532556] /host/run/snap/mnt rw - nsfs nsfs rw
`

func parseTable(t *testing.T, text string) []*mountinfo.Info {
	t.Helper()
	list, err := mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAPeerOrSlaveReceivesMounts(t *testing.T) {
	received := map[string]bool{}
	for _, m := range parseTable(t, aContainersMounts) {
		received[m.Mountpoint] = receivesMounts(m)
	}
	want := map[string]bool{
		"/": false, "/proc": false, "/run/netns": true, "/run/netns/cni-1 a": true, "/host": false, "/host/run": true,
		"/host/run/netns/cni-1 a": false, "/host/run/snap/mnt": false,
	}
	if diff := cmp.Diff(want, received); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func FuzzMounts(f *testing.F) {
	f.Add(aContainersMounts)
	f.Fuzz(func(t *testing.T, text string) {
		m := mounts{dirs: []netnsDir{{"/run/netns", "/run/netns", 2}}}
		m.table, m.err = mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
		complete(t, reportMounts(m, elsewhere))
	})
}

func TestMountPropagationIsChecked(t *testing.T) {
	const private = "1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:24 / /run rw - tmpfs tmpfs rw\n3 1 0:24 / /host rw - ext4 x rw\n"
	shared := strings.ReplaceAll(private, "rw - tmpfs", "rw shared:3 - tmpfs")
	slave := strings.ReplaceAll(private, "rw - tmpfs", "rw master:3 - tmpfs")
	below := strings.ReplaceAll(private, "rw - ext4 x", "rw master:1 - ext4 x")
	one := []netnsDir{{"/run/netns", "/run/netns", 2}}
	for _, tt := range []struct {
		name string
		m    mounts
		text string
		in   place
		want want
	}{
		{"on the host", mounts{dirs: one}, private, onHost, want{level: OK, what: "host's mount namespace"}},
		{"a slave", mounts{dirs: one}, slave, elsewhere, want{level: OK, what: "/run/netns receives mounts from the host (/run)"}},
		{"a peer", mounts{dirs: one}, shared, elsewhere, want{level: OK, what: "receives mounts from the host (/run)"}},
		{"a private one", mounts{dirs: one}, private, elsewhere, want{level: Warn, what: "private mount (/run)", do: "-v /run/netns:/run/netns:rslave"}},
		{"a private one, perhaps on the host", mounts{dirs: one}, private, unknown, want{level: Info, what: "cannot determine", do: "nothing on the host itself"}},
		{"none", mounts{dirs: []netnsDir{{path: "/run/netns"}, {path: "/var/run/netns"}}}, private, elsewhere, want{level: Warn, what: "there is no /run/netns here", do: "mountPropagation: HostToContainer"}},
		{"none, perhaps on the host", mounts{dirs: []netnsDir{{path: "/run/netns"}}}, private, unknown, want{level: Warn, what: "there is no /run/netns here"}},
		{"one of two", mounts{dirs: []netnsDir{{path: "/run/netns"}, {"/var/run/netns", "/run/netns", 2}}}, slave, elsewhere, want{level: OK}},
		{"below a host root", mounts{root: "/host", dirs: []netnsDir{{"/run/netns", "/host/run/netns", 3}}}, below, elsewhere, want{level: OK, what: "(/host)"}},
		{
			"below a private host root",
			mounts{root: "/host", dirs: []netnsDir{{"/run/netns", "/host/run/netns", 3}}},
			private, elsewhere,
			want{level: Warn, what: "/host/run/netns is on a private mount (/host)", do: "-v /:/host:ro,rslave"},
		},
		{"none below a host root", mounts{root: "/host/", dirs: []netnsDir{{path: "/run/netns"}}}, private, elsewhere, want{level: Warn, what: "no /run/netns below /host", do: "hostPath volume of / at /host with"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.m.table = parseTable(t, tt.text)
			tt.want.check = "netns-mounts"
			expect(t, reportMounts(tt.m, tt.in), tt.want)
		})
	}
	t.Run("a mount outside the table", func(t *testing.T) {
		expect(t, reportMounts(mounts{dirs: one}, elsewhere), want{"netns-mounts", Warn, "cannot determine the mount of /run/netns", "/proc"})
	})
	t.Run("unreadable", func(t *testing.T) {
		m := mounts{err: errors.New("read the mount table: none")}
		expect(t, reportMounts(m, elsewhere), want{"netns-mounts", Warn, "read the mount table", "/proc"})
	})
}
