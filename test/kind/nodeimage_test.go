// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nodeImage returns the image of the cluster's nodes: empty for kind's own image, which kind pulls, or one that the test
// builds.
func nodeImage(t *testing.T) string {
	t.Helper()
	version, err := os.ReadFile(need(t, "kubernetes/version"))
	if os.IsNotExist(err) {
		return "" // scripts/e2e-kind.sh has pulled kind's image
	} else if err != nil {
		t.Fatal(err)
	}
	return makeNodeImage(t, strings.TrimSpace(string(version)))
}

// makeNodeImage builds a node image for kind: Debian with a container runtime, Kubernetes, the images of the control plane,
// and the files in node/.
func makeNodeImage(t *testing.T, version string) string {
	t.Helper()
	stage := t.TempDir()
	for _, dir := range []string{"kind/images", "kind/manifests", "etc/systemd/system", "lib/modules"} {
		if err := os.MkdirAll(filepath.Join(stage, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(stage, "kind/version"), []byte(version), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, unit := range masked() {
		if err := os.Symlink("/dev/null", filepath.Join(stage, "etc/systemd/system", unit)); err != nil {
			t.Fatal(err)
		}
	}
	saveControlPlane(t, version, filepath.Join(stage, "kind/images"))
	ref := "halfclose.test/node:" + version
	importImage(t, ref, []string{
		`ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]`,
		"ENV container=docker",
		"ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}, []string{"-C", overlay(t, "node", need(t, "node"), need(t, "debian"), stage), "--owner=0", "--group=0", "."})
	return ref
}

// overlay mounts directories over each other, the first on top, and returns the path.
func overlay(t *testing.T, dirs ...string) string {
	t.Helper()
	for i, dir := range dirs {
		var err error
		if dirs[i], err = filepath.Abs(dir); err != nil {
			t.Fatal(err)
		}
	}
	merged := t.TempDir()
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(dirs, ":")); err != nil {
		t.Fatalf("lay %s over each other: %v", strings.Join(dirs, ", "), err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, 0); err != nil {
			t.Errorf("unmount %s: %v", merged, err)
		}
	})
	return merged
}

// saveControlPlane saves the images of a control plane for kubeadm, all from one image with all programs, and the pause
// image.
func saveControlPlane(t *testing.T, version, dir string) {
	t.Helper()
	const made = "halfclose.test/control-plane"
	importImage(t, made, []string{"ENV PATH=/"}, []string{"-C", need(t, "kubernetes"), "."})
	save := []string{"save", "-o", filepath.Join(dir, "control-plane.tar")}
	list := command(t, exec.Command(need(t, "kubernetes/kubeadm"), "config", "images", "list", "--kubernetes-version", version))
	for ref := range strings.FieldsSeq(list) {
		program, _, _ := strings.Cut(ref[strings.LastIndex(ref, "/")+1:], ":")
		switch program {
		case "coredns": // no pod resolves names
		case "pause":
			importImage(t, ref, []string{`CMD ["/peer", "pause"]`}, []string{"-C", need(t, "peer"), "."})
			docker(t, "save", "-o", filepath.Join(dir, "pause.tar"), ref)
		default:
			docker(t, "tag", made, ref)
			save = append(save, ref)
		}
	}
	save = append(save, kubectlImage(t, made, version))
	docker(t, save...)
}

// kubectlImage builds the image of the chart's hook from an image that has kubectl.
func kubectlImage(t *testing.T, from, version string) (ref string) {
	t.Helper()
	rendered := helm(t, "template", release, need(t, "chart"), "--kube-version", version, "--show-only", "templates/uninstall-hook.yaml")
	ref = regexp.MustCompile(`image: (\S*/kubectl:\S+)`).FindStringSubmatch(rendered)[1]
	container := strings.TrimSpace(docker(t, "create", from, "kubectl"))
	docker(t, "commit", "--change", `ENTRYPOINT ["/kubectl"]`, container, ref)
	docker(t, "rm", container)
	return ref
}

// masked lists units of a plain installation that a container does not need, or that would change its host.
func masked() []string {
	return []string{
		"systemd-udevd.service", "systemd-modules-load.service", "systemd-logind.service", "systemd-sysctl.service",
		"getty.target", "getty@.service", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer",
		"e2scrub_all.timer", "fstrim.timer", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
		"sys-fs-fuse-connections.mount", "dev-hugepages.mount", "dev-mqueue.mount",
	}
}
