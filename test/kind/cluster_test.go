// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
)

// name is the name of the cluster, and the prefix of its nodes' names.
const (
	name         = "halfclose-e2e"
	controlPlane = name + "-control-plane"
	worker       = name + "-worker"
)

// nodes returns the names of the nodes.
func nodes() []string { return []string{controlPlane, worker} }

// slow is the timeout for the cluster on a busy machine.
const slow = 4 * time.Minute

// published is the configuration with kind's image, on which a changed ConfigMap reaches running pods after seconds instead of
// a minute. made is for the image that the test builds, which has no kindnet and no kube-proxy, and for a root that may lack
// CAP_SYS_RESOURCE.
const (
	published = `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{role: control-plane}, {role: worker}]
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  syncFrequency: 5s
`
	made = published + `  cgroupDriver: cgroupfs
  oomScoreAdj: 0
  enforceNodeAllocatable: []
  localStorageCapacityIsolation: false
networking: {disableDefaultCNI: true, kubeProxyMode: none, ipFamily: ipv4}
`
)

// startCluster creates the cluster, and loads the images of its pods.
func startCluster(t *testing.T) {
	t.Helper()
	image, config := nodeImage(t), published
	args := []string{"create", "cluster", "--name", name, "--retain", "--config", "-"}
	if image != "" {
		config = made
		args = append(args, "--image", image)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "kubeconfig"))
	t.Setenv("KUBECACHEDIR", t.TempDir())
	t.Setenv("KIND_EXPERIMENTAL_PROVIDER", "docker")
	t.Setenv("KIND_CLUSTER_NAME", name)
	t.Setenv("PATH", need(t, ".")+":"+os.Getenv("PATH")) // with kind, helm, kubectl and its plugin
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t)
		}
		kind(t, "delete", "cluster", "--name", name)
	})
	cmd := exec.Command(need(t, "kind"), args...)
	cmd.Stdin = strings.NewReader(config)
	command(t, cmd)
	docker(t, "cp", "--follow-link", controlPlane+":/usr/bin/kubectl", need(t, "kubectl"))
	if image != "" { // for node/usr/local/bin/pod-network
		kubectl(t, "create", "clusterrolebinding", "nodes-see-nodes", "--clusterrole=system:node", "--group=system:nodes")
	}
	kubectl(t, "wait", "--for=condition=Ready", "node", "--all", "--timeout", slow.String())
	nstest.Eventually(t, slow, "the default service account exists", func() bool {
		_, err := tryKubectl(t, "get", "serviceaccount", "default")
		return err == nil
	})
	importImage(t, peerImage, []string{`ENTRYPOINT ["/peer"]`}, []string{"-C", need(t, "peer"), "."})
	kind(t, "load", "docker-image", peerImage, "--name", name)
	kind(t, "load", "image-archive", need(t, "halfclose-image.tar"), "--name", name)
}

// kind runs a kind command that must succeed.
func kind(t *testing.T, args ...string) {
	t.Helper()
	command(t, exec.Command(need(t, "kind"), args...))
}

// kubectl runs a command that must succeed, and returns its output.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryKubectl(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tryKubectl runs a command again if the API server of a busy machine has not answered it.
func tryKubectl(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	for start := time.Now(); ; {
		out, err = output(kubectlCommand(t, args...))
		if err == nil || !isUnanswered(err) || time.Since(start) > slow {
			return out, err
		}
		t.Logf("the API server has not answered, retrying: %v", err)
	}
}

// isUnanswered reports whether an error of kubectl says that the connection to the API server timed out.
func isUnanswered(err error) bool {
	return strings.Contains(err.Error(), "TLS handshake timeout") || strings.Contains(err.Error(), "http2: client connection lost")
}

func kubectlCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(need(t, "kubectl"), args...)
}

// apply applies a manifest.
func apply(t *testing.T, manifest string) {
	t.Helper()
	cmd := kubectlCommand(t, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	command(t, cmd)
}

// getInto decodes the JSON output of kubectl get.
func getInto(t *testing.T, into any, args ...string) {
	t.Helper()
	decode(t, kubectl(t, append([]string{"get", "-o", "json"}, args...)...), into)
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("decode %.500q: %v", text, err)
	}
}

// onNode runs a shell command on a node of the cluster.
func onNode(t *testing.T, node, shell string) string {
	t.Helper()
	return docker(t, "exec", node, "sh", "-euc", shell)
}

// logs returns the directory for the logs of a failed test.
func logs(t *testing.T) string {
	t.Helper()
	dir := need(t, "logs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// keepLogs writes the state and the logs of the cluster to files.
func keepLogs(t *testing.T) {
	t.Helper()
	keep := func(file string, cmd *exec.Cmd) {
		out, _ := cmd.CombinedOutput()
		if err := os.WriteFile(filepath.Join(logs(t), file), out, 0o644); err != nil {
			t.Error(err)
		}
	}
	keep("objects.txt", kubectlCommand(t, "get", "all,nodes,events", "-A", "-o", "wide"))
	keep("pods.txt", kubectlCommand(t, "describe", "pods", "-A"))
	keep("halfclose.log", kubectlCommand(t, "logs", "-n", namespace, "-l", selector, "--all-containers", "--prefix", "--tail=-1"))
	for _, node := range nodes() {
		keep(node+".journal", exec.Command("docker", "exec", node, "journalctl", "--no-pager", "-o", "short-monotonic"))
		keep(node+".network", exec.Command("docker", "exec", node, "sh", "-c", "ip a; ip r; ls -l /opt/cni/bin /etc/cni/net.d; cat /etc/cni/net.d/*"))
		keep(node+".console", exec.Command("docker", "logs", node))
	}
}

// output runs a command and returns its stdout. The error has both outputs.
func output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, &stderr)
	}
	return string(out), err
}
