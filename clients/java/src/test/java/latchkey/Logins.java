package latchkey;

import com.nimbusds.jose.shaded.gson.Gson;
import io.grpc.CallOptions;
import io.grpc.ManagedChannelBuilder;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.util.Base64;
import java.util.Map;

/**
 * Logs in to TARGET again and again with grpc-java and the service config of docs/clients.md, and prints the code of
 * each login, until it is killed.
 */
public final class Logins {
  @SuppressWarnings("unchecked")
  public static void main(String[] args) throws Exception {
    var message = Base64.getDecoder().decode(System.getenv("LOGIN"));
    var config = (Map<String, ?>) new Gson().fromJson(System.getenv("SERVICE_CONFIG"), Map.class);
    var channel =
        ManagedChannelBuilder.forTarget(System.getenv("TARGET"))
            .usePlaintext()
            .defaultServiceConfig(config)
            .build();
    var method =
        MethodDescriptor.newBuilder(Cases.BYTES, Cases.BYTES)
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName("auth.v1.AuthService/Login")
            .build();
    Runnable logIn =
        () -> {
          while (true) {
            try {
              ClientCalls.blockingUnaryCall(channel, method, CallOptions.DEFAULT, message);
              System.out.println("login: OK");
            } catch (StatusRuntimeException error) {
              System.out.println("login: " + error.getStatus());
            }
            pause();
          }
        };
    new Thread(logIn).start();
    logIn.run();
  }

  private static void pause() {
    try {
      Thread.sleep(100);
    } catch (InterruptedException error) {
      throw new IllegalStateException(error);
    }
  }
}
