// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1 "github.com/openshift/api/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/halfclose/halfclose/deploy/seccomp"
	"github.com/halfclose/halfclose/pkg/cniconf"
)

func TestLintFindsNothing(t *testing.T) {
	if out, err := helm(t, "lint", "--strict", chartDir); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheManifestsAreRenderedFromTheChart(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("scripts/manifests.sh", dir)
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"halfclose.yaml", "halfclose-uninstall.yaml"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(repository, "deploy/kubernetes", name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("deploy/kubernetes/%s is not what the chart makes: run make manifests", name)
		}
		if strings.Contains(string(got), "Helm") {
			t.Errorf("deploy/kubernetes/%s says that Helm manages it", name)
		}
		parse(t, string(got))
	}
}

// Each is a legal name of a Kubernetes object, and a number or a boolean to YAML.
func TestNamesThatYAMLReadsAsNumbersStayNames(t *testing.T) {
	text, err := helm(t, "template", "0123", chartDir, "--namespace", "1e3", "--kube-version", "1.34.0",
		"--set-string", "fullnameOverride=0x1f", "--set-string", "nameOverride=true", "--set-string", "serviceAccount.name=007",
		"--set-string", "priorityClassName=010", "--set", "metrics.podMonitor.enabled=true,openshift.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	objects := parse(t, text) // which has numbers as they are written in decimal
	ds, ok := objects["DaemonSet 0x1f"].(*appsv1.DaemonSet)
	hook, hasHook := objects["ConfigMap 0x1f-uninstall"].(*corev1.ConfigMap)
	if !ok || !hasHook {
		t.Fatalf("there is no DaemonSet or no hook among %v", slices.Sorted(maps.Keys(objects)))
	}
	want := map[string]string{"app.kubernetes.io/name": "true", "app.kubernetes.io/instance": "0123"}
	if diff := cmp.Diff(want, ds.Spec.Selector.MatchLabels); diff != "" {
		t.Errorf("the selector (-want +got)\n%s", diff)
	}
	if ds.Namespace != "1e3" || ds.Spec.Template.Spec.ServiceAccountName != "007" || ds.Spec.Template.Spec.PriorityClassName != "010" {
		t.Errorf("the DaemonSet has the namespace %s, and its pods %+v", ds.Namespace, ds.Spec.Template.Spec)
	}
	if parse(t, hook.Data["daemonset.yaml"])["DaemonSet 0x1f"] == nil {
		t.Errorf("the hook does not replace the DaemonSet: %s", hook.Data["daemonset.yaml"])
	}
}

func TestNoContainerHasMoreThanItNeeds(t *testing.T) {
	ds := render(t, "--set", "doctor=true").daemonSet(t)
	pod := ds.Spec.Template.Spec
	if *pod.AutomountServiceAccountToken || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("it has a token, or no seccomp profile")
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if s.Privileged != nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s: %+v", c.Name, s)
		}
		want := []corev1.Capability{}
		mounts := []string{"/etc/cni/net.d", "/opt/cni/bin"}
		switch c.Name {
		case "reaper":
			want, mounts = []corev1.Capability{"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"}, []string{"/etc/cni/net.d", "/etc/halfclose", "/opt/cni/bin", "/run/halfclose", "/run/netns", "/var/lib/cni", "/var/lib/halfclose", "/var/run/netns"}
		case "doctor":
			want, mounts = []corev1.Capability{"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"},
				[]string{"/etc/cni/net.d", "/etc/halfclose", "/opt/cni/bin", "/run/halfclose", "/run/netns", "/var/lib/halfclose", "/var/run/netns"}
		}
		if !slices.Equal(s.Capabilities.Add, want) {
			t.Errorf("%s has the capabilities %v, want %v", c.Name, s.Capabilities.Add, want)
		}
		var have []string
		for _, m := range c.VolumeMounts {
			have = append(have, m.MountPath)
			if readsOnly := strings.Contains(m.MountPath, "cni"); c.Name == "reaper" && readsOnly && !m.ReadOnly {
				t.Errorf("the reaper can write to %s", m.MountPath)
			}
		}
		if slices.Sort(have); !slices.Equal(have, mounts) {
			t.Errorf("%s has %v, want %v", c.Name, have, mounts)
		}
	}
}

// TestTheReaperSeesNetnsThatAreMountedLater matters because a record is inert if the reaper cannot see its network namespace.
func TestTheReaperSeesNetnsThatAreMountedLater(t *testing.T) {
	const other = "/run/containerd/io.containerd.grpc.v1.cri/netns"
	ds := render(t, "--set", "reaper.netnsDirs={"+other+",/run/netns}").daemonSet(t)
	volumes := make(map[string]string)
	for _, v := range ds.Spec.Template.Spec.Volumes {
		if v.HostPath != nil {
			volumes[v.Name] = v.HostPath.Path
		}
	}
	seen := make(map[string]bool)
	for _, m := range container(t, ds, "reaper").VolumeMounts {
		if path, ok := volumes[m.Name]; ok && path != m.MountPath {
			t.Errorf("%s shows %s of the node: a record's path leads elsewhere", m.MountPath, volumes[m.Name])
		}
		if m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationHostToContainer {
			seen[m.MountPath] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(seen)), []string{other, "/run/netns", "/var/run/netns"}; !slices.Equal(got, want) {
		t.Errorf("what is mounted later appears in %v, want %v", got, want)
	}
	if pod := ds.Spec.Template.Spec; !pod.HostPID || !pod.HostNetwork {
		t.Error("it is not among the node's processes, or not in its network namespace")
	}
}

// TestAdoptionReadsTheCachesOfTheRuntimeAndOfMultus holds the paths of the reaper's --cni-cache.
func TestAdoptionReadsTheCachesOfTheRuntimeAndOfMultus(t *testing.T) {
	reaper := container(t, render(t).daemonSet(t), "reaper")
	if !slices.Contains(reaper.Args, "--adopt=true") {
		t.Errorf("adoption is off: %q", reaper.Args)
	}
	for _, dir := range cniconf.CacheDirs() {
		if !slices.ContainsFunc(reaper.VolumeMounts, func(m corev1.VolumeMount) bool {
			return strings.HasPrefix(dir, m.MountPath+"/") && m.ReadOnly && m.Name == "cni-cache"
		}) {
			t.Errorf("the reaper does not see %s", dir)
		}
	}
}

// TestTheReaperFollowsTheConfigMap matters because the kubelet updates no mount with a subPath, and the reaper trusts only a
// read-only mount of its own.
func TestTheReaperFollowsTheConfigMap(t *testing.T) {
	ds := render(t).daemonSet(t)
	reaper := container(t, ds, "reaper")
	if !slices.Contains(reaper.Args, "--policy-file=/etc/halfclose/policy.yaml") {
		t.Errorf("a missing file would count as none: %q", reaper.Args)
	}
	if !slices.Contains(reaper.VolumeMounts, corev1.VolumeMount{Name: "policy", MountPath: "/etc/halfclose", ReadOnly: true}) {
		t.Errorf("it has %v", reaper.VolumeMounts)
	}
	for _, v := range ds.Spec.Template.Spec.Volumes {
		if v.Name == "policy" && (v.ConfigMap == nil || v.ConfigMap.Name != "halfclose-policy" || v.ConfigMap.Items != nil) {
			t.Errorf("the volume is %+v", v)
		}
	}
}

func TestAChangeOfThePolicyRestartsNothing(t *testing.T) {
	usual := render(t).daemonSet(t)
	changed := render(t, "--set", "policy.defaults.grace=5m,excludedNamespaces={a,b},policy.podOverrides=none").daemonSet(t)
	if diff := cmp.Diff(usual, changed); diff != "" {
		t.Errorf("the DaemonSet changes:\n%s", diff)
	}
}

// TestThePodsOfHooksAreNotTheDaemonSets matters because the controller of a DaemonSet adopts pods with its labels, and deletes them.
func TestThePodsOfHooksAreNotTheDaemonSets(t *testing.T) {
	r := render(t, "--set", "commonLabels.team=network")
	test := r["DaemonSet halfclose-test"].(*appsv1.DaemonSet)
	waits := r["Pod halfclose-test"].(*corev1.Pod)
	hook := r["Job halfclose-uninstall"].(*batchv1.Job)
	for _, ds := range []*appsv1.DaemonSet{r.daemonSet(t), test} {
		selector := labels.SelectorFromSet(ds.Spec.Selector.MatchLabels)
		if !selector.Matches(labels.Set(ds.Spec.Template.Labels)) {
			t.Errorf("%s does not select its own pods: %v", ds.Name, ds.Spec.Template.Labels)
		}
		for name, other := range map[string]map[string]string{"test's pod": waits.Labels, "uninstall's pod": hook.Spec.Template.Labels} {
			if selector.Matches(labels.Set(other)) {
				t.Errorf("%s selects the %s: %v", ds.Name, name, other)
			}
		}
	}
	if labels.SelectorFromSet(r.daemonSet(t).Spec.Selector.MatchLabels).Matches(labels.Set(test.Spec.Template.Labels)) {
		t.Errorf("the DaemonSet selects the pods of the test: %v", test.Spec.Template.Labels)
	}
}

// TestHelmTestProvesEveryNode holds the parts of the proof; test/kind runs it.
func TestHelmTestProvesEveryNode(t *testing.T) {
	r := render(t, "--set", "nodeSelector.pool=edge,tolerations=null")
	usual, test := r.daemonSet(t), r["DaemonSet halfclose-test"].(*appsv1.DaemonSet)
	pod := test.Spec.Template.Spec
	if diff := cmp.Diff(usual.Spec.Template.Spec.NodeSelector, pod.NodeSelector); diff != "" || cmp.Diff(usual.Spec.Template.Spec.Tolerations, pod.Tolerations) != "" {
		t.Errorf("it runs on other nodes than the reaper: %s", diff)
	}
	if pod.HostNetwork {
		t.Error("the plugin registers no pod in the host's network")
	}
	var runs []string
	for _, c := range pod.InitContainers {
		runs = append(runs, strings.Join(c.Args, " "))
	}
	want := []string{
		"health", "policy show $(POD) --namespace=$(NAMESPACE)", "doctor --cni-bin-dir=/opt/cni/bin --cni-conf-dir=/etc/cni/net.d",
	}
	if !slices.Equal(runs, want) {
		t.Errorf("it runs %q, want %q", runs, want)
	}
	role := r["Role halfclose-test"].(*rbacv1.Role)
	if len(role.Rules) != 1 || !slices.Equal(role.Rules[0].ResourceNames, []string{"halfclose-test"}) || !slices.Equal(role.Rules[0].Verbs, []string{"get", "list", "watch"}) {
		t.Errorf("it may %+v", role.Rules)
	}
	for _, name := range []string{"DaemonSet", "Pod", "ServiceAccount", "Role", "RoleBinding"} {
		object := r[name+" halfclose-test"].(metav1.Object)
		if a := object.GetAnnotations(); a["helm.sh/hook"] != "test" || a["helm.sh/hook-delete-policy"] != "before-hook-creation,hook-succeeded" {
			t.Errorf("%s: %v", name, a)
		}
	}
}

func TestTheDaemonSetRunsOnEveryNodeBeforeOtherPods(t *testing.T) {
	pod := render(t).daemonSet(t).Spec.Template.Spec
	if pod.PriorityClassName != "system-node-critical" {
		t.Errorf("its priority is %q", pod.PriorityClassName)
	}
	if len(pod.Tolerations) != 1 || pod.Tolerations[0] != (corev1.Toleration{Operator: corev1.TolerationOpExists}) {
		t.Errorf("it tolerates %v", pod.Tolerations)
	}
}

func TestAStopRemovesNothingFromTheNetwork(t *testing.T) {
	pod := render(t).daemonSet(t).Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if c.Lifecycle != nil || slices.Contains(c.Args, "uninstall") {
			t.Errorf("%s: %v, %v", c.Name, c.Lifecycle, c.Args)
		}
	}
}

func TestInstallAndWatchWriteTheSameEntryWithoutAPolicy(t *testing.T) {
	ds := render(t, "--set", "policy.defaults.grace=5m,policy.podOverrides=none,cni.failurePolicy=fail,cni.podOverrides=relax,cni.dropIn=true").daemonSet(t)
	install, watch := container(t, ds, "install").Args, container(t, ds, "watch").Args
	entry := []string{
		"--cni-bin-dir=/opt/cni/bin", "--cni-conf-dir=/etc/cni/net.d", "--reaper=external", "--failure-policy=fail", "--pod-overrides=relax", "--drop-in",
	}
	if want := append([]string{"install", "--wait=10m"}, entry...); !slices.Equal(install, want) {
		t.Errorf("install has %q, want %q", install, want)
	}
	if want := append([]string{"install", "--watch", "--log-format=text"}, entry...); !slices.Equal(watch, want) {
		t.Errorf("watch has %q, want %q", watch, want)
	}
}

func TestTheModeIsTheReapersCapAndNotThePolicys(t *testing.T) {
	for _, mode := range []string{"observe", "destroy", "off"} {
		ds := render(t, "--set", "mode="+mode).daemonSet(t)
		if args := container(t, ds, "reaper").Args; !slices.Contains(args, "--mode="+mode) {
			t.Errorf("%s: the reaper has %q", mode, args)
		}
		if args := container(t, ds, "install").Args; slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--mode") }) {
			t.Errorf("%s: pods would be recorded with it, and one switch could not turn them: %q", mode, args)
		}
	}
	if args := container(t, render(t).daemonSet(t), "reaper").Args; !slices.Contains(args, "--mode=observe") {
		t.Errorf("a first install does not observe: %q", args)
	}
}

func TestProbesUseTheReapersOwnSocket(t *testing.T) {
	c := container(t, render(t).daemonSet(t), "reaper")
	for name, p := range map[string]struct {
		probe *corev1.Probe
		want  []string
	}{
		"startup": {c.StartupProbe, []string{"halfclose", "health", "--live"}},
		// A restart gives no reaper the privileges that it lacks.
		"liveness":  {c.LivenessProbe, []string{"halfclose", "health", "--live"}},
		"readiness": {c.ReadinessProbe, []string{"halfclose", "health"}},
	} {
		if p.probe.Exec == nil || !slices.Equal(p.probe.Exec.Command, p.want) {
			t.Errorf("%s: %+v", name, p.probe.ProbeHandler)
		}
	}
}

func TestRemovalUninstallsOnEachNodeWithoutAWatch(t *testing.T) {
	r := render(t)
	hook := r["ConfigMap halfclose-uninstall"].(*corev1.ConfigMap)
	byHook := parse(t, hook.Data["daemonset.yaml"]).daemonSet(t)
	byValue := render(t, "--set", "uninstall=true").daemonSet(t)
	usual := r.daemonSet(t)
	for how, ds := range map[string]*[]corev1.Container{"hook": &byHook.Spec.Template.Spec.InitContainers, "value": &byValue.Spec.Template.Spec.InitContainers} {
		if len(*ds) != 1 || (*ds)[0].Args[0] != "uninstall" {
			t.Errorf("by the %s: %+v", how, *ds)
		}
	}
	for _, ds := range []*corev1.PodSpec{&byHook.Spec.Template.Spec, &byValue.Spec.Template.Spec} {
		if len(ds.Containers) != 1 || ds.Containers[0].Name != "reaper" {
			t.Errorf("it runs more than the reaper: %+v", ds.Containers)
		}
	}
	if !maps.Equal(byHook.Spec.Selector.MatchLabels, usual.Spec.Selector.MatchLabels) {
		t.Error("the API server refuses to replace a DaemonSet by one of another selector")
	}
	job := r["Job halfclose-uninstall"].(*batchv1.Job)
	if job.Annotations["helm.sh/hook"] != "pre-delete" || !strings.Contains(strings.Join(job.Spec.Template.Spec.Containers[0].Args, " "), "rollout status daemonset/halfclose") {
		t.Errorf("%+v", job)
	}
	if rules := r["Role halfclose-uninstall"].(*rbacv1.Role).Rules; len(rules) != 1 || !slices.Equal(rules[0].ResourceNames, []string{"halfclose"}) {
		t.Errorf("the hook may change more than the DaemonSet: %+v", rules)
	}
	if without := render(t, "--skip-tests", "--set", "uninstallHook.enabled=false"); len(without) != 3 {
		t.Errorf("without the hook there is %v", slices.Sorted(maps.Keys(without)))
	}
}

// TestAppArmorAllowsTheReaperToInspectProcesses checks an annotation before Kubernetes 1.30, and a field from then on.
func TestAppArmorAllowsTheReaperToInspectProcesses(t *testing.T) {
	for version, field := range map[string]bool{"1.25.0": false, "1.29.4": false, "1.30.0": true, "1.34.4+k3s1": true} {
		text, err := template(t, version)
		if err != nil {
			t.Fatal(err)
		}
		ds := parse(t, text).daemonSet(t)
		profile := container(t, ds, "reaper").SecurityContext.AppArmorProfile
		annotation := ds.Spec.Template.Annotations["container.apparmor.security.beta.kubernetes.io/reaper"]
		if (profile != nil) != field || (annotation == "unconfined") == field {
			t.Errorf("Kubernetes %s: the field is %v, the annotation %q", version, profile, annotation)
		}
	}
}

// TestTheSeccompProfilesAreOnTheNodeBeforeAContainerUsesThem matters because a runtime starts no container with a profile that
// it cannot read.
func TestTheSeccompProfilesAreOnTheNodeBeforeAContainerUsesThem(t *testing.T) {
	const root = "/var/lib/kubelet/seccomp"
	for _, uninstall := range []string{"false", "true"} {
		ds := render(t, "--set", "seccomp.enabled=true,doctor=true,uninstall="+uninstall).daemonSet(t)
		pod := ds.Spec.Template.Spec
		first := pod.InitContainers[0]
		if !slices.Equal(first.Args, []string{"seccomp", "--write=" + root}) || len(first.VolumeMounts) != 1 || first.VolumeMounts[0].MountPath != root {
			t.Errorf("uninstall=%s: the first container has %q and %v", uninstall, first.Args, first.VolumeMounts)
		}
		if s := first.SecurityContext; s.SeccompProfile != nil || len(s.Capabilities.Add) > 0 || *s.AllowPrivilegeEscalation {
			t.Errorf("uninstall=%s: the first container has %+v", uninstall, s)
		}
		for _, c := range slices.Concat(pod.InitContainers[1:], pod.Containers) {
			name := seccomp.Installer
			if c.Name == "reaper" || c.Name == "doctor" {
				name = seccomp.Reaper
			}
			want := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: new("halfclose/" + name + ".json")}
			if diff := cmp.Diff(want, c.SecurityContext.SeccompProfile); diff != "" {
				t.Errorf("uninstall=%s: %s (-want +got)\n%s", uninstall, c.Name, diff)
			}
		}
	}
}

func TestWithoutSeccompTheRuntimesProfileApplies(t *testing.T) {
	ds := render(t).daemonSet(t)
	for _, c := range slices.Concat(ds.Spec.Template.Spec.InitContainers, ds.Spec.Template.Spec.Containers) {
		if c.SecurityContext.SeccompProfile != nil {
			t.Errorf("%s has %+v", c.Name, c.SecurityContext.SeccompProfile)
		}
	}
	if p := ds.Spec.Template.Spec.SecurityContext.SeccompProfile; p.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod has %+v", p)
	}
	own := render(t, "--set", "seccomp.enabled=true,reaper.securityContext.seccompProfile.type=RuntimeDefault").daemonSet(t)
	if p := container(t, own, "reaper").SecurityContext.SeccompProfile; p.Type != corev1.SeccompProfileTypeRuntimeDefault || p.LocalhostProfile != nil {
		t.Errorf("a value of the reaper's own gives %+v", p)
	}
}

// TestOpenShiftAllowsTheSeccompProfilesInUse and no others.
func TestOpenShiftAllowsTheSeccompProfilesInUse(t *testing.T) {
	for set, want := range map[string][]string{
		"":                      {"runtime/default"},
		",seccomp.enabled=true": {"runtime/default", "localhost/halfclose/installer.json", "localhost/halfclose/reaper.json"},
		",reaper.securityContext.seccompProfile.type=Unconfined":                                                        {"runtime/default", "unconfined"},
		",podSecurityContext.seccompProfile.type=Localhost,podSecurityContext.seccompProfile.localhostProfile=own.json": {"runtime/default", "localhost/own.json"},
	} {
		scc := render(t, "--set", "openshift.enabled=true"+set)["SecurityContextConstraints kube-system-halfclose"].(*securityv1.SecurityContextConstraints)
		if diff := cmp.Diff(want, scc.SeccompProfiles); diff != "" {
			t.Errorf("%q (-want +got)\n%s", set, diff)
		}
	}
}

func TestOlderClustersAreRefused(t *testing.T) {
	if _, err := template(t, "1.24.0"); err == nil || !strings.Contains(err.Error(), "incompatible with Kubernetes v1.24.0") {
		t.Errorf("got %v", err)
	}
}

func TestAnInvalidValueIsRefusedByItsName(t *testing.T) {
	for value, says := range map[string]string{
		"mode=kill":                                             "/mode",
		"excludedNamespaces={a/b}":                              "/excludedNamespaces/0",
		"policy.podOverrides=some":                              "/policy/podOverrides",
		"cni.failurePolicy=retry":                               "/cni/failurePolicy",
		"reaper.maxAsksPerSecond=0":                             "/reaper/maxAsksPerSecond",
		"reaper.sample=often":                                   "/reaper/sample",
		"reaper.askCPUBudget=lots":                              "/reaper/askCPUBudget",
		"reaper.capabilities={CAP_SYS_ADMIN}":                   "/reaper/capabilities",
		"reaper.capabilities={NET_ADMIN}":                       "/reaper/capabilities",
		"reaper.cpuBudget=lots":                                 "/reaper/cpuBudget",
		"reaper.bpfSockets=0":                                   "/reaper/bpfSockets",
		"reaper.maxDestroysPerSecond=-1":                        "/reaper/maxDestroysPerSecond",
		"reaper.netnsDirs={run/netns}":                          "/reaper/netnsDirs/0",
		"cni.binDir=opt/cni/bin":                                "/cni/binDir",
		"image.digest=latest":                                   "/image/digest",
		"image.repository=ghcr.io/halfclose/halfclose":          "/image/repository",
		"uninstallHook.image.repository=localhost:5000/kubectl": "/uninstallHook/image/repository",
		"seccomp.dir=seccomp":                                   "/seccomp/dir",
		"seccomp.profile=x":                                     "'profile' not allowed",
		"metrics.port=0":                                        "/metrics/port",
		"metrics.address=eth0":                                  "/metrics/address",
		"metrics.podMonitor.interval=often":                     "/metrics/podMonitor/interval",
		"metrics.podMonitor.namespace=A B":                      "/metrics/podMonitor/namespace",
		"uninstallHook.image=kubectl:v1":                        "/uninstallHook/image",
		"updateStrategy.type=Recreate":                          "/updateStrategy/type",
		"updateStrategy.rollingUpdate.maxSurge=1":               "maxSurge", // two reapers on a node
		"reaper.extraArgs={mode=off}":                           "/reaper/extraArgs/0",
		"reaper.livenessProbe.exec=x":                           "exec",
		"extraVolumes[0].emptyDir.medium=x":                     "/extraVolumes/0",
		"commonLabels.a=1":                                      "/commonLabels/a", // a number
		// The policy of the network's entry has moved to the policy file.
		"policy.grace=10m":          "'grace' not allowed",
		"policy.mode=observe":       "'mode' not allowed",
		"policy.failurePolicy=fail": "'failurePolicy' not allowed",
		"maxUnavailable=1":          "'maxUnavailable' not allowed",
		"seLinuxOptions.type=x":     "'seLinuxOptions' not allowed",
		"replicas=2":                "replicas",
		"uninstallHook.timeout=300": "/uninstallHook/timeout",
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			_, err := template(t, "1.34.0", "--set", value)
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("got %v, want an error with %q", err, says)
			}
		})
	}
}
