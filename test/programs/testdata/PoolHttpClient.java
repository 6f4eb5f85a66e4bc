// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0
//
// A pool of java.net.http.HttpClient: java PoolHttpClient URL [CA]
//
// It makes three requests at the same time, prints "ready", and leaves the connections in the pool until a line comes.
// Then it makes three uploads at the same time, and prints "ok" or the error of each.
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class PoolHttpClient {
    static final int HELD = 3;

    public static void main(String[] args) throws Exception {
        var builder = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1);
        if (args.length > 1 && !args[1].isEmpty()) {
            builder.sslContext(trust(args[1]));
        }
        var client = builder.build();
        var gets = new ArrayList<java.util.concurrent.CompletableFuture<?>>();
        for (int i = 0; i < HELD; i++) {
            var request = HttpRequest.newBuilder(URI.create(args[0] + "/together")).build();
            gets.add(client.sendAsync(request, BodyHandlers.ofString()));
        }
        for (var get : gets) {
            get.join();
        }
        System.out.println("ready");
        System.in.read();
        var body = HttpRequest.BodyPublishers.ofByteArray(new byte[20_000_000]);
        var uploads = new ArrayList<java.util.concurrent.CompletableFuture<String>>();
        for (int i = 0; i < HELD; i++) {
            var request = HttpRequest.newBuilder(URI.create(args[0] + "/upload")).POST(body).build();
            uploads.add(client.sendAsync(request, BodyHandlers.ofString())
                .handle((answer, e) -> e != null ? e.toString() : answer.statusCode() == 200 ? "ok" : "status " + answer.statusCode()));
        }
        for (var upload : uploads) {
            System.out.println(upload.join());
        }
        System.exit(0);
    }

    static SSLContext trust(String file) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var in = new FileInputStream(file)) {
            store.setCertificateEntry("peer", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }
}
